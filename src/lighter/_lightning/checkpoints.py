"""The connector that chooses and restores checkpoints, and the strategy's way to read and write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.strategies import Strategy

from lighter._lightning.aliases import Renamed, alias
from lighter._lightning.versions import IS_TESTED

if TYPE_CHECKING or IS_TESTED:
    from pytorch_lightning.trainer.connectors.checkpoint_connector import _CheckpointConnector
else:
    _CheckpointConnector = object  # nobody installs a subclass


class CheckpointConnector(Renamed, _CheckpointConnector):
    """Lightning's connector, which chooses a checkpoint and restores from it.

    Attributes:
        loaded_checkpoint: the content of the checkpoint that is being restored.
        ckpt_path: where it was loaded from.
        hpc_resume_path: the checkpoint that a requeued SLURM job has left, if any.
    """

    loaded_checkpoint: dict[str, Any] = alias("_loaded_checkpoint")
    ckpt_path: str | None = alias("_ckpt_path")
    hpc_resume_path: str | None = alias("_hpc_resume_path")

    if TYPE_CHECKING or IS_TESTED:
        restore_modules_and_callbacks = _CheckpointConnector._restore_modules_and_callbacks
        choose = _CheckpointConnector._parse_ckpt_path


def checkpoint_connector(trainer: pl.Trainer) -> Any:
    """Return the connector of a trainer; ours, where `lighter.Trainer` has installed it."""
    return trainer._checkpoint_connector


def set_checkpoint_connector(trainer: pl.Trainer, connector: CheckpointConnector) -> None:
    """Put a connector in the place of Lightning's, which has no state before a fit."""
    trainer._checkpoint_connector = connector


def given_checkpoint_io(strategy: Strategy) -> CheckpointIO | None:
    """Return the `CheckpointIO` that a strategy was given. The public property makes one where there is none."""
    return strategy._checkpoint_io
