"""A member within its SLURM job."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lighter.experiments.executors.process import run_task
from lighter.files.run_folder import RECORD
from lighter.launch import job


def run_in_job(entry: str, task: Mapping[str, Any], stopped: str) -> None:
    """Run a task in this job, and end the process with its exit code.

    Args:
        stopped: the file that is there if the job is not to start any more.

    Raises:
        SystemExit: always, so that SLURM's records tell a failed member too.
    """
    job.begin()
    # A signal that came before this process was there, or ignored it, is lost; the file was written before.
    if Path(stopped).exists():
        sys.exit(job.STOPPED)
    # If the job cannot be requeued, the coordinator sees its end, and starts the member in another one.
    job.run_and_requeue(partial(run_task, entry, task), partial(job.steps_of, Path(task["folder"]) / RECORD))
