"""The rank of this process in a distributed run, by its environment."""

from __future__ import annotations

import os


def is_rank_zero() -> bool:
    """Return whether this process is the only one, or the first of a distributed run."""
    # before the trainer exists, only the launchers' variables tell: torchrun's, Lightning's own, SLURM's
    return all(os.environ.get(variable, "0") == "0" for variable in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
