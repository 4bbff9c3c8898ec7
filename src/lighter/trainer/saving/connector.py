"""Lightning's choice of a checkpoint, `last` or `best` or a path, without those that are damaged.

Private, because nothing public stands between `fit(ckpt_path="last")` and the loading. What is chosen, and what is
restored from it, stays Lightning's code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning.trainer.connectors.checkpoint_connector import _CheckpointConnector
from pytorch_lightning.trainer.states import TrainerFn

from lighter.errors import CheckpointError
from lighter.run.slurm import no_srun_hint
from lighter.trainer.saving.choosing import beside, first_good, refuse_damaged
from lighter.trainer.saving.damage import verify
from lighter.trainer.saving.partials import sweep

_BY_NAME = (None, "last", "best", "hpc")  # rather than by a path


class CheckpointConnector(_CheckpointConnector):
    """Passes over damaged checkpoints, and sweeps what was left of unfinished ones at the start of a fit."""

    def resume_start(self, checkpoint_path: Any = None, weights_only: bool | None = None) -> None:
        """The callbacks know their folders by now, and nothing is loaded or saved yet."""
        trainer = self.trainer
        if trainer.state.fn == TrainerFn.FITTING and trainer.is_global_zero:
            for folder in {getattr(callback, "dirpath", None) for callback in trainer.checkpoint_callbacks}:
                if folder is not None and "://" not in str(folder):
                    sweep(Path(folder))
        super().resume_start(checkpoint_path, weights_only=weights_only)

    @no_srun_hint()
    def _parse_ckpt_path(self, state_fn: TrainerFn, ckpt_path: Any, model_provided: bool, model_connected: bool) -> Any:
        found = super()._parse_ckpt_path(state_fn, ckpt_path, model_provided, model_connected)
        if found is None or "://" in str(found) or not Path(found).is_file():
            return found
        if ckpt_path not in _BY_NAME:
            refuse_damaged(str(found), verify)
            return found
        good = first_good([path for path in [Path(found), *beside(Path(found))] if path.is_file()], verify)
        if good is None:
            raise CheckpointError(f"none of the checkpoints in {Path(found).parent} can be used")
        return str(good)


def install_connector(trainer: Any) -> None:
    """Put it in the place of Lightning's, which has no state before a fit."""
    trainer._checkpoint_connector = CheckpointConnector(trainer)
