"""Whole commands in a folder that a stranger has filled: none runs code from it, writes elsewhere or hangs."""

from __future__ import annotations

import os
import subprocess
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.commands import LIGHTER, run_command
from tests.config.safe.attacks import COMMANDS, Command
from tests.engine.test_safe import CONFIG

pytestmark = pytest.mark.long

# what `python -c` imports for multiprocessing, first of all; and what Python imports by itself
MODULES = (
    "multiprocessing",
    "pickle",
    "runpy",
    "sitecustomize",
    "socket",
    "struct",
    "tempfile",
    "torch",
    "usercustomize",
)
ENDS = 300  # seconds after which a command hangs


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """The stranger's folder, and one of the user's."""
    for name in ("stranger", "mine"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine/keep.txt").write_text("mine")
    (tmp_path / "stranger/linear.yaml").write_text(CONFIG)
    return tmp_path / "stranger", tmp_path / "mine"


def lay_out(attack: Command, stranger: Path, mine: Path, canary: Path) -> None:
    for module in MODULES if attack.modules else ():
        (stranger / f"{module}.py").write_text(f"open({str(canary)!r}, 'w').close()\nraise SystemExit(9)\n")
    days = {str(date.today()), str(date.today() + timedelta(days=1))} if "TODAY" in str(attack.links) else {""}
    for path in {stranger / link.replace("TODAY", day) for link in attack.links for day in days}:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(mine / "new.txt" if path.suffix else mine)
    for pipe in attack.pipes:
        (stranger / pipe).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(stranger / pipe)


def run(attack: Command, stranger: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = [attack.command, "linear.yaml", *options, *attack.words]
    if not attack.modules:
        return run_command("lighter", *words, cwd=stranger, timeout=ENDS)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # modules that a process imports first: one of its own
    return subprocess.run(
        [LIGHTER, *words], cwd=stranger, env=environment, capture_output=True, text=True, timeout=ENDS
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command(name: str, places: tuple[Path, Path]) -> None:
    attack, (stranger, mine), canary = COMMANDS[name], places, places[0].parent / "canary"
    lay_out(attack, stranger, mine, canary)
    done = run(attack, stranger, "--safe")
    assert not canary.exists()
    assert {path.name for path in mine.iterdir()} == {"keep.txt"}
    assert "Traceback" not in done.stderr
    assert (done.returncode == 0) == (attack.says is None), done.stderr[-2000:]
    assert (attack.says or "") in done.stderr


def test_without_safe_mode_a_module_is_imported(places: tuple[Path, Path]) -> None:
    """Or the attacks prove nothing."""
    attack, (stranger, mine), canary = COMMANDS["workers that are spawned"], places, places[0].parent / "canary"
    lay_out(attack, stranger, mine, canary)
    (stranger / "torch.py").unlink()  # which the command itself imports then
    run(attack, stranger)
    assert canary.exists()


def test_without_safe_mode_a_link_is_followed(places: tuple[Path, Path]) -> None:
    """Or the attacks prove nothing."""
    attack, (stranger, mine) = COMMANDS["the folder of all runs"], places
    lay_out(attack, stranger, mine, stranger.parent / "canary")
    assert run(attack, stranger).returncode == 0
    assert len(list(mine.iterdir())) == 2
