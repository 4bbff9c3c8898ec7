"""Which process of a distributed run this one is, by its environment."""

from __future__ import annotations

import os


def is_rank_zero() -> bool:
    """Whether this process is the only one, or the first of a distributed run."""
    return all(os.environ.get(variable, "0") == "0" for variable in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
