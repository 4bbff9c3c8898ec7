"""Lightning's trainer as a base class, with the stages of a run under public names."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import Callback
from pytorch_lightning.profilers import Profiler
from pytorch_lightning.utilities.argparse import _defaults_from_env_vars

from lighter._lightning.aliases import Renamed

defaults_from_env_vars = _defaults_from_env_vars  # a decorator of `__init__`, which reads `PL_TRAINER_LOGGER` and so on


class StagedTrainer(Renamed, pl.Trainer):
    """A trainer whose stages can be overridden: nothing public is called around the loops of all of them."""

    # set by Lightning's connectors, and so unknown to a type checker
    callbacks: list[Callback]
    profiler: Profiler
    reload_dataloaders_every_n_epochs: int

    run_stage = pl.Trainer._run_stage
    run_sanity_check = pl.Trainer._run_sanity_check


def checkpoint_connector(trainer: pl.Trainer) -> Any:
    """Return the connector that chooses and restores checkpoints; ours, where `lighter.Trainer` has installed it."""
    return trainer._checkpoint_connector
