"""Jobs of SLURM: which one this process is in; and no hint at `srun` outside of them, on a login node say."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

JOB = "LIGHTER_JOB"
"""The environment variable with the name of the job in which `--launch` runs this process."""
_MESSAGE = "The `srun` command is available on your system but is not used"


def job() -> dict[str, str] | None:
    """Return the job that this process is in and how often it was requeued; None outside of SLURM."""
    number = os.environ.get("SLURM_JOB_ID")
    if not number:
        return None
    job = f"{os.environ.get('SLURM_CLUSTER_NAME', '')}/{number}"
    return {"job": job, "restarts": os.environ.get("SLURM_RESTART_COUNT", "0")}


def is_over(start: Mapping[str, str] | None) -> bool:
    """Return whether this process is in the same job, requeued since."""
    # SLURM ends a job's processes before it requeues it
    now = job()
    if start is None or now is None:
        return False
    return start["job"] == now["job"] and start["restarts"] != now["restarts"]


@contextmanager
def no_srun_hint() -> Iterator[None]:
    """Leave out Lightning's hint to start with `srun`, unless this is a job of SLURM's, where it matters."""
    ours = ("ignore", re.compile(_MESSAGE, re.IGNORECASE), UserWarning, None, 0)
    if "SLURM_JOB_ID" in os.environ or ours in warnings.filters:
        yield
        return
    warnings.filterwarnings("ignore", _MESSAGE, UserWarning)
    try:
        yield
    finally:
        # this filter alone: what is built meanwhile may import modules that set filters of their own
        with suppress(ValueError):
            warnings.filters.remove(ours)  # type: ignore[attr-defined]
