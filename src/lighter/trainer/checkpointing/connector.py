"""Lightning's choice of a checkpoint, `last` or `best` or a path, without those that are damaged.

Private, because nothing public stands between `fit(ckpt_path="last")` and the loading. What is chosen, and what is
restored from it, stays Lightning's code.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pytorch_lightning.trainer.connectors.checkpoint_connector import _CheckpointConnector
from pytorch_lightning.trainer.states import TrainerFn

from lighter.errors import CheckpointError
from lighter.files.integrity import verify
from lighter.files.partials import sweep
from lighter.parts.optimization.parameter_groups import renamed_as_in
from lighter.processes.slurm import no_srun_hint
from lighter.trainer.checkpointing.defaults import are_default, left_by_exception, on_exception
from lighter.trainer.checkpointing.dtypes import CastValues
from lighter.trainer.checkpointing.fallback import beside, first_good, refuse_damaged
from lighter.trainer.checkpointing.restored import keep_own_files

log = logging.getLogger("lighter.runs")

LEFT_BY_EXCEPTION = "the fit goes on from %s, which an OnExceptionCheckpoint left of one that failed"
_WEIGHTS = {"state_dict", "current_model_state"}  # the second beside averaged ones
_BY_NAME = (None, "last", "best", "hpc")  # rather than by a path


class CheckpointConnector(_CheckpointConnector):
    """Passes over damaged checkpoints, sweeps what was left of unfinished ones, and restores values unrounded."""

    _cast: CastValues | None = None  # until the fit has started

    def resume_start(self, checkpoint_path: Any = None, weights_only: bool | None = None) -> None:
        """The callbacks know their folders by now, and nothing is loaded or saved yet."""
        trainer = self.trainer
        if trainer.state.fn == TrainerFn.FITTING and trainer.is_global_zero:
            folders = {getattr(callback, "dirpath", None) for callback in trainer.checkpoint_callbacks}
            for folder in {*folders, Path(checkpoint_path).parent if checkpoint_path else None}:
                if folder is not None and "://" not in str(folder):
                    sweep(Path(folder))
        super().resume_start(checkpoint_path, weights_only=weights_only)
        checkpoint = self._loaded_checkpoint
        module = trainer.lightning_module  # none for who asks this connector alone
        if checkpoint and module is not None and not trainer.strategy.restore_checkpoint_after_setup:  # others shard
            names = module.state_dict()
            checkpoint |= {key: renamed_as_in(names, checkpoint[key]) for key in _WEIGHTS & checkpoint.keys()}

    def restore_callbacks(self) -> None:
        """Let the callbacks have their states, but for files that are not theirs.

        Those that average weights load the module's own; what came before them was theirs.
        """
        trainer: Any = self.trainer
        checkpoint, source, run = self._loaded_checkpoint, self._ckpt_path, trainer.stopping.folder
        if checkpoint:
            keep_own_files(trainer, checkpoint, source, run)
        super().restore_callbacks()
        if checkpoint and trainer.state.fn == TrainerFn.FITTING:
            trainer.saves.left_over.look(trainer, checkpoint, source, run)
        self._cast = None
        if checkpoint and not trainer.strategy.restore_checkpoint_after_setup:
            states = [checkpoint[key] for key in ("current_model_state", "state_dict") if key in checkpoint]
            self._cast = CastValues(trainer.lightning_module, states)

    def restore_training_state(self) -> None:
        """The module has its precision by now."""
        if self._cast is not None:
            self._cast.restore_weights()
        super().restore_training_state()

    def restore_optimizers(self) -> None:
        """Lightning's, without torch's casts, unless this fit has another precision than that of the checkpoint."""
        super().restore_optimizers()
        if self._cast is not None:
            self._cast.add_optimizers(self.trainer.optimizers, self._loaded_checkpoint["optimizer_states"])

    def restore_converted(self) -> list[str]:
        """Restore what `on_train_start` has converted, `self.double()` say, unrounded.

        Returns:
            What has another type than in the checkpoint still.
        """
        if self._cast is None:
            return []
        cast, self._cast = self._cast, None
        cast.restore()
        return cast.differing()

    def _restore_modules_and_callbacks(self, checkpoint_path: Any = None, weights_only: bool | None = None) -> None:
        """The module has its weights; no hook of the fit was called yet."""
        super()._restore_modules_and_callbacks(checkpoint_path, weights_only)
        trainer: Any = self.trainer
        if trainer.state.fn == TrainerFn.FITTING:
            trainer.fit_loop.begin_looking(resumes=bool(self._loaded_checkpoint))

    @no_srun_hint()
    def _parse_ckpt_path(self, state_fn: TrainerFn, ckpt_path: Any, model_provided: bool, model_connected: bool) -> Any:
        is_by_name = ckpt_path in _BY_NAME
        takes_left = ckpt_path is None and state_fn == TrainerFn.FITTING and on_exception(self.trainer)
        if takes_left and self._hpc_resume_path is None:
            ckpt_path = left_by_exception(self.trainer)
            if ckpt_path is None:
                return None  # Lightning would take the last checkpoint of any fit
            log.warning(LEFT_BY_EXCEPTION, ckpt_path)
        if ckpt_path == "best" and are_default(self.trainer.checkpoint_callbacks):
            ckpt_path = getattr(self.trainer.checkpoint_callback, "best_model_path", None) or ckpt_path
        found = super()._parse_ckpt_path(state_fn, ckpt_path, model_provided, model_connected)
        if found is None or "://" in str(found) or not Path(found).is_file():
            return found
        if not is_by_name:
            refuse_damaged(str(found), verify)
            return found
        good = first_good([path for path in [Path(found), *beside(Path(found))] if path.is_file()], verify)
        if good is None:
            raise CheckpointError(f"none of the checkpoints in {Path(found).parent} can be used")
        return str(good)


def install_connector(trainer: Any) -> None:
    """Put it in the place of Lightning's, which has no state before a fit."""
    trainer._checkpoint_connector = CheckpointConnector(trainer)
