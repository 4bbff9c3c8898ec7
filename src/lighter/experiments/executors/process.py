"""Run a task in the process that SLURM or Ray has started for it alone."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lighter import lightning_alias
from lighter.experiments.executors.base import WORKER_LOG
from lighter.launch.job import catchable_signals, caught
from lighter.processes.streams import print_each_line_at_once

ENTRY = "lighter.engine.member:run_member"
"""The function that runs a task, by name: it is above this package, and only the started process imports torch."""


def run_task(entry: str, task: Mapping[str, Any]) -> int:
    """Run a task, and return its exit code: 0 finished or paused, 128 + n stopped by signal n, another one failed.

    This process prints into the member's folder from now on.
    """
    catchable_signals()
    _print_to(Path(task["folder"]) / WORKER_LOG)
    lightning_alias.install()
    module, _, name = entry.partition(":")

    def run() -> int:
        function: Callable[[Mapping[str, Any]], int] = getattr(importlib.import_module(module), name)
        return function(task)

    return caught(run)


def _print_to(path: Path) -> None:
    # descriptors, not `sys.stdout`: libraries in C and child processes print too
    path.parent.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)
    print_each_line_at_once()
