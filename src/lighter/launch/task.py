"""The function of a launched job, which submitit starts in each of its tasks."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lighter import lightning_alias
from lighter.files.run_folder import PROGRESS, RECORD
from lighter.launch import job
from lighter.processes.slurm import JOB


def run_in_job(entry: str, task: Mapping[str, Any]) -> None:
    """Run a task in this job, and end the process with its exit code.

    Args:
        entry: the function that runs it, `module:name`.

    Raises:
        SystemExit: always, so that SLURM's records tell a failure too.
    """
    job.begin()
    os.environ[JOB] = task["name"]
    os.environ.setdefault("OMP_NUM_THREADS", str(task["threads"]))
    lightning_alias.install()
    folder = Path(task["folder"])
    job.run_and_requeue(partial(job.caught, partial(_run, entry, task)), partial(_steps, folder), task["requeues"])


def _run(entry: str, task: Mapping[str, Any]) -> int:
    module, _, name = entry.partition(":")
    code: int = getattr(importlib.import_module(module), name)(task)
    return code


def _steps(folder: Path) -> int:
    # those of an experiment are those of its members; a prediction notes batches, in files that only grow
    noted = sum(path.stat().st_size for path in folder.rglob(f"*{PROGRESS}*"))
    return noted + sum(job.steps_of(record) for record in (folder / RECORD, *folder.glob(f"*/{RECORD}")))
