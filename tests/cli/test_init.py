"""`lighter init`: a folder that fits and passes its test at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from lighter.cli.init import TEMPLATES, init
from lighter.config import examine
from tests.commands import run_command


def made(*words: str) -> str:
    result = CliRunner().invoke(init, words)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_is_whole_and_its_own(own_place: Path, template: str) -> None:
    output = made("mine", "--from", template)
    folder = own_place / "mine"
    files = {path.relative_to(folder): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert all(str(name) in output for name in files)
    assert not [name for name, text in files.items() if "examples/" in text or '-e "' in text]
    configs = [name for name in files if name.suffix == ".yaml"]
    assert {yaml.safe_load(files[name])["project"] for name in configs if "project" in files[name]} <= {"."}
    for command in re.findall(r"^lighter .+", files[Path("README.md")], re.MULTILINE):
        assert (folder / command.split()[2]).is_file()
        assert command in output
    for name in configs:
        assert not examine([str(folder / name)], None)[1]


@pytest.mark.slow
def test_it_fits_and_its_test_passes(own_place: Path) -> None:
    output = made("mine", "--from", "finetune")
    for command in re.findall(r"^lighter (.+)$", output, re.MULTILINE):
        done = run_command("lighter", *command.split(), "trainer::max_epochs=1", cwd=own_place / "mine")
        assert done.returncode == 0, done.stderr
    tested = run_command("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=own_place / "mine")
    assert "1 passed" in tested.stdout, tested.stdout


def test_nothing_is_written_over(own_place: Path) -> None:
    mine = own_place / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("precious")
    result = CliRunner().invoke(init, ["mine"])
    assert (result.exit_code, [path.name for path in mine.iterdir()]) == (2, ["notes.txt"])
    assert "mine exists already" in result.output
    (mine / "notes.txt").unlink()
    made("mine")  # an empty folder, as a fresh repository may have
    (own_place / "file").touch()
    assert CliRunner().invoke(init, ["file"]).exit_code == 2
    below = CliRunner().invoke(init, ["file/below"])
    assert below.exit_code == 2
    assert "Not a directory" in below.output
    (own_place / "link").symlink_to("nothing")
    assert "exists already" in CliRunner().invoke(init, ["link"]).output


def test_a_part_is_not_left_behind(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_text

    def full(path: Path, text: str, **options: Any) -> int:
        if path.name == "model.py":
            raise OSError(28, "No space left on device", str(path))
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    (own_place / "empty").mkdir()
    for name in ("mine", "empty"):
        result = CliRunner().invoke(init, [name])
        assert (result.exit_code, f"{name}/model.py" in result.output) == (2, True)
        assert "No space left on device" in result.output
    assert [path.name for path in own_place.iterdir()] == ["empty"]
    assert not list((own_place / "empty").iterdir())


def test_a_name_with_spaces_is_quoted(own_place: Path) -> None:
    assert "cd 'a b'\n" in made("a b")
    assert "`lighter init 'a b' --from digits`" in (own_place / "a b/README.md").read_text()


def test_a_template_that_is_not_there(own_place: Path) -> None:
    result = CliRunner().invoke(init, ["mine", "--from", "digit"])
    assert result.exit_code == 2
    assert all(name in result.output for name in TEMPLATES)
    assert not (own_place / "mine").exists()
