"""In a safe run neither Python nor what it starts imports from the folders of a stranger."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lighter.config.safe import import_path


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "stranger"
    folder.mkdir()
    (folder / "struct.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w').close()\n")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("entry", ["", ".", "HERE", "HERE/", "../stranger", "configs", "../configs/.", "relative"])
def test_an_entry_that_goes(entry: str, stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the working directory and of the config, however they are written, and all that are relative."""
    (stranger.parent / "configs").mkdir()
    written = entry.replace("HERE", str(stranger))
    monkeypatch.setattr(sys, "path", [*sys.path, written])
    kept = [one for one in sys.path if one != written]
    with import_path.without([stranger.parent / "configs"]):
        assert sys.path == kept
    assert sys.path[-1] == written


@pytest.mark.parametrize(
    ("written", "kept"),
    [("", None), (":", None), (".", None), ("/a:", "/a"), (":/a:lib:/b", "/a:/b"), ("/a", "/a")],
)
def test_pythonpath(written: str, kept: str | None, stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative entry of it stands on the path of this process as an absolute one."""
    monkeypatch.setenv("PYTHONPATH", written)
    monkeypatch.setattr(sys, "path", [*sys.path, str(stranger / "lib"), "/a"])
    with import_path.without([]):
        assert os.environ.get("PYTHONPATH") == kept
        assert (str(stranger / "lib") in sys.path) == ("lib" not in written)
        assert "/a" in sys.path
    assert os.environ["PYTHONPATH"] == written
    assert "PYTHONSAFEPATH" not in os.environ or sys.flags.safe_path


def test_what_the_user_put_on_it_stays(stranger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(stranger))
    monkeypatch.syspath_prepend(str(stranger))
    with import_path.without([stranger]):
        assert str(stranger) in sys.path


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("is_inherited", [True, False], ids=["by the environment", "by an executable"])
def test_a_process_that_multiprocessing_starts(method: str, is_inherited: bool, stranger: Path) -> None:
    """The second way is that of Python 3.10, and of `python -E`."""
    code = (
        "import multiprocessing, os, sys\n"
        "from lighter.config.safe import import_path\n"
        f"import_path._is_safe_path_inherited = lambda: {is_inherited}\n"
        "if __name__ == '__main__':\n"
        "    with import_path.without([]):\n"
        f"        process = multiprocessing.get_context({method!r}).Process(target=os.getcwd)\n"
        "        process.start()\n"
        "        process.join()\n"
        "    raise SystemExit(process.exitcode)\n"
    )
    script = stranger.parent / "script.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (stranger.parent / "canary").exists()
