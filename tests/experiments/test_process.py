"""A process for one task: what it prints and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lighter.experiments.executors.base import Task
from tests.commands import ROOT
from tests.experiments.stand_ins import steps, task_of

COMMAND = """
import json, sys
from lighter.experiments.executors.process import run_task
raise SystemExit(run_task(sys.argv[1], json.loads(sys.argv[2])))
"""


def process(task: Task, entry: str = "tests.experiments.stand_ins:run_member") -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", COMMAND, entry, json.dumps(task.plain())], env=environment)


def test_it_prints_into_the_members_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "member"
    assert process(task_of(folder, "show", NAME="value")).wait(60) == 0
    assert (folder / "worker.log").read_text() == "printed by Python\nprinted by C\n"
    shown = json.loads((folder / "shown.json").read_text())
    assert (shown["cwd"], shown["variables"]["NAME"]) == (str(tmp_path), "value")
    assert capfd.readouterr() == ("", "")


def test_it_ends_with_the_tasks_code(tmp_path: Path) -> None:
    assert process(task_of(tmp_path / "member", "exit", "3")).wait(60) == 3


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGINT, 130)])
def test_a_signal_stops_the_task(tmp_path: Path, signum: int, code: int) -> None:
    folder = tmp_path / "member"
    running = process(task_of(folder, "count", "9999", "0.01"))
    until = time.monotonic() + 60
    while not steps(folder) and time.monotonic() < until:
        time.sleep(0.01)
    running.send_signal(signum)
    assert running.wait(60) == code
    assert json.loads((folder / "run.json").read_text())["progress"]["step"] == len(steps(folder))


def test_what_it_cannot_run_is_in_its_log(tmp_path: Path) -> None:
    folder = tmp_path / "member"
    assert process(task_of(folder, "show"), "tests.experiments.nothing:run").wait(60) == 1
    assert "No module named 'tests.experiments.nothing'" in (folder / "worker.log").read_text()
