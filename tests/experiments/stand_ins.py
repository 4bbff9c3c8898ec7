"""What a member's process runs in tests of executors: in place of a fit, without its imports."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lighter.experiments.executors.base import Task

COUNTED = "counted.txt"


def task_of(folder: Path, *inputs: str, **environment: str) -> Task:
    folder.mkdir(parents=True, exist_ok=True)
    return Task(str(folder), inputs, None, str(folder.parent), environment)


def run_member(task: Mapping[str, Any]) -> int:
    os.environ.update(task["environment"])
    os.chdir(task["cwd"])
    what, *arguments = task["inputs"]
    code: int = {"count": count, "exit": leave, "kill": kill, "fill": fill, "show": show}[what](
        Path(task["folder"]), *arguments
    )
    return code


def count(folder: Path, end: str, seconds: str = "0.1") -> int:
    """Count to a number, a line for each step, from where it was stopped; the record says how far it is."""
    lines = folder / COUNTED
    step = len(lines.read_text().splitlines()) if lines.exists() else 0
    try:
        while step < int(end):
            time.sleep(float(seconds))
            step += 1
            with lines.open("a") as file:
                file.write(f"{step} {os.getpid()} {os.environ.get('SLURM_RESTART_COUNT', 0)}\n")
    finally:
        status = "finished" if step == int(end) else "interrupted"
        facts = {"status": status, "progress": {"epoch": 0, "step": step}, "steps_made": step}
        (folder / "run.json").write_text(json.dumps(facts))
    return 0


def leave(folder: Path, code: str) -> int:
    return int(code)


def kill(folder: Path) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def fill(folder: Path, megabytes: str) -> int:
    """Take memory, and touch it."""
    held = [b"x" * 2**20 for _ in range(int(megabytes))]
    time.sleep(20)
    return len(held) % 1


def show(folder: Path) -> int:
    """Write what the process has: its variables and its cores."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    (folder / "shown.json").write_text(json.dumps({"variables": dict(os.environ), "cores": cores, "cwd": os.getcwd()}))
    print("printed by Python")
    os.write(2, b"printed by C\n")
    return 0


def steps(folder: Path) -> list[list[str]]:
    """The steps that `count` has made: number, process, how often its SLURM job was requeued before."""
    path = folder / COUNTED
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []
