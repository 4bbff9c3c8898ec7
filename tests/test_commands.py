"""Commands forked by a warm process are as good as processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import LIGHTER, TESTS, Process, run_command

pytestmark = pytest.mark.slow

FACTS = """
import json, os, sys, tempfile
import mine
from lightning_fabric.utilities.rank_zero import rank_zero_only
print(json.dumps({
    "name": __name__, "file": __file__, "words": sys.argv, "folder": os.getcwd(), "path": sys.path,
    "environment": dict(os.environ), "tests": sorted(name for name in sys.modules if name.startswith("tests")),
    "mine": mine.VALUE, "rank": rank_zero_only.rank, "temporary": tempfile.gettempdir(),
    "leads": [os.getsid(0), os.getpgid(0)] == [os.getpid()] * 2,
    "threads": len(os.listdir("/proc/self/task")), "open": [os.path.exists(f"/dev/fd/{number}") for number in range(8)],
}))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads as Linux shows them")
def test_a_script_finds_what_it_finds_in_a_process_of_its_own(own_place: Path) -> None:
    (own_place / "facts.py").write_text(FACTS)
    variables = {"A_VARIABLE": "x", "LOCAL_RANK": "1", "TMPDIR": str(own_place), "OMP_NUM_THREADS": "1", **TESTS}
    for value in (1, 20):  # no module of the first is left in the second
        (own_place / "mine.py").write_text(f"VALUE = {value}\n")
        done = run_command("facts.py", "--word", environment=variables)
        fresh = subprocess.run(
            [sys.executable, "facts.py", "--word"], capture_output=True, text=True, start_new_session=True,
            env={**os.environ, **variables}, check=True,
        )  # fmt: skip
        facts, expected = json.loads(done.stdout), json.loads(fresh.stdout)
        for one in (facts, expected):  # what imports add depends on what is imported
            assert one.pop("environment").items() >= {**os.environ, **variables}.items()
        assert facts == expected
        assert facts["mine"] == value


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ("pass", 0),
        ("sys.exit(7)", 7),
        ("sys.exit('said')", 1),
        ("raise ValueError('said')", 1),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT),
        ("os._exit(5)", 5),
    ],
)
def test_it_ends_as_a_process_of_its_own_ends(ends: str, code: int, own_place: Path) -> None:
    (own_place / "ends.py").write_text(
        f"import atexit, os, signal, sys\natexit.register(print, 'at exit')\nprint('out')\n{ends}\n"
    )
    done = run_command("ends.py")
    fresh = subprocess.run([sys.executable, "ends.py"], capture_output=True, text=True, check=False)
    assert done.returncode == fresh.returncode == code
    assert done.stdout == fresh.stdout
    assert done.stderr.splitlines()[-1:] == fresh.stderr.splitlines()[-1:]


def test_a_module_is_run_by_its_name(own_place: Path) -> None:
    (own_place / "words.py").write_text("import sys\nprint(__name__, __spec__.name, *sys.argv[1:])\n")
    assert run_command("-m", "words", "a", "b").stdout == "__main__ words a b\n"


def test_several_run_at_once_and_get_signals(own_place: Path) -> None:
    (own_place / "waits.py").write_text("print('waits', flush=True)\nimport time\ntime.sleep(600)\n")
    processes = [Process("waits.py", output=own_place / f"{number}.txt") for number in range(2)]
    for number, process in enumerate(processes):
        while "waits" not in (own_place / f"{number}.txt").read_text():
            assert process.poll() is None
    processes[1].send_signal(signal.SIGTERM)
    assert processes[1].wait(60) == -signal.SIGTERM
    assert processes[0].poll() is None
    processes[0].kill_group()
    assert processes[0].wait(60) == -signal.SIGKILL


def test_the_console_script_is_run(own_place: Path) -> None:
    done = run_command("lighter", "fit", "nowhere.yaml")
    fresh = subprocess.run([LIGHTER, "fit", "nowhere.yaml"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (fresh.returncode, fresh.stdout, fresh.stderr)


def test_a_variable_that_python_reads_when_it_starts_is_refused() -> None:
    with pytest.raises(AssertionError, match="PYTHONWARNINGS"):
        run_command("lighter", environment={"PYTHONWARNINGS": "error"})
