"""SLURM, as a run without it sees it: on a login node, say, where its commands are installed."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_MESSAGE = "The `srun` command is available on your system but is not used"


@contextmanager
def no_srun_hint() -> Iterator[None]:
    """Leave out Lightning's hint to start with `srun`, unless this is a job of SLURM's, where it matters.

    Only this filter is taken away again: what is built meanwhile may import modules that set filters of their own.
    """
    ours = ("ignore", re.compile(_MESSAGE, re.IGNORECASE), UserWarning, None, 0)
    if "SLURM_JOB_ID" in os.environ or ours in warnings.filters:
        yield
        return
    warnings.filterwarnings("ignore", _MESSAGE, UserWarning)
    try:
        yield
    finally:
        with suppress(ValueError):
            warnings.filters.remove(ours)  # type: ignore[attr-defined]
