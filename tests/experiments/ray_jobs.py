"""Coordinators that use Ray, each a process of its own: Ray changes variables, handlers and threads for good.

`python -m tests.experiments.ray_jobs NAME FOLDER` prints what it saw as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lighter.experiments.executors.base import BUSY, Ended
from lighter.experiments.executors.ray import RayExecutor
from lighter.experiments.executors.settings import RaySettings
from tests.experiments.stand_ins import steps, task_of

STAND_IN = "tests.experiments.stand_ins:run_member"
LATE = 200.0


def all_ended(executor: RayExecutor, number: int) -> dict[str, list[Any]]:
    ended: list[Ended] = []
    late = time.monotonic() + LATE
    while len(ended) < number and time.monotonic() < late:
        ended += executor.ended(0.5)
    return {each.folder.name: [each.reason, each.is_busy] for each in ended}


def outcomes(folder: Path) -> dict[str, Any]:
    """How members ended; and that the coordinator keeps its handlers."""
    signal.signal(signal.SIGTERM, own := lambda *_: None)
    whats = [("count", "3"), ("exit", "1"), ("kill",), ("exit", str(BUSY)), ("show",)]
    with RayExecutor(RaySettings(memory=100 * 2**20), STAND_IN) as executor:
        free = executor.free()
        for number, what in enumerate(whats):
            executor.start(task_of(folder / f"member-{number}", *what))
        ended = all_ended(executor, 5)
        return {"free": free, "ended": ended, "handler": signal.getsignal(signal.SIGTERM) is own}


def stop(folder: Path) -> dict[str, Any]:
    """Two that run are stopped, which takes one of them a while; a third one waits."""
    with RayExecutor(RaySettings(workers=3), STAND_IN) as executor:
        for number in range(3):
            executor.start(task_of(folder / f"member-{number}", "count", "9999"))
        while sum(len(steps(folder / f"member-{number}")) > 3 for number in range(3)) < 2:
            executor.ended(0.1)
        executor.stop()
        return {"ended": {each.folder.name: each.reason for each in executor.ended(0)}, "free": executor.free()}


def leave(folder: Path) -> dict[str, Any]:
    """Start a member, and be killed."""
    with RayExecutor(RaySettings(), STAND_IN) as executor:
        executor.start(task_of(folder / "member", "count", "9999"))
        while not steps(folder / "member"):
            executor.ended(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
    return {}


def fits(folder: Path) -> dict[str, Any]:
    """Fits of the real kind: one is stopped and resumed, one pauses and is resumed, one has two processes."""
    from tests.experiments.fits import fit_of, fitted

    with RayExecutor(RaySettings(workers=1)) as executor:
        executor.start(fit_of(folder / "stopped"))
        while fitted(folder / "stopped") < 15:
            executor.ended(0.1)
        executor.stop()
        seen = {each.folder.name: each.reason for each in executor.ended(0)}
    with RayExecutor(RaySettings(workers=2)) as executor:
        executor.start(fit_of(folder / "stopped"))
        executor.start(fit_of(folder / "paused", pause=("trainer::max_epochs", 1)))
        first = all_ended(executor, 2)
        executor.start(fit_of(folder / "paused"))
        executor.start(fit_of(folder / "two", "trainer::devices=2", "trainer::strategy=ddp"))
        return {"seen": seen, "first": first, "second": all_ended(executor, 2)}


if __name__ == "__main__":
    jobs = {job.__name__: job for job in (outcomes, stop, leave, fits)}
    print(json.dumps(jobs[sys.argv[1]](Path(sys.argv[2]))))
