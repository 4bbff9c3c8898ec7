"""Choose and restore a checkpoint as Lightning does, but pass over damaged ones and restore values unrounded."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn

from lighter._lightning.saves import CheckpointConnector as LightningsConnector
from lighter._lightning.saves import has_shards
from lighter.errors import CheckpointError
from lighter.files.folders import clean, is_sharded
from lighter.files.integrity import verify
from lighter.files.storage import is_remote
from lighter.parts.optimization.parameter_groups import renamed_as_in
from lighter.processes.slurm import no_srun_hint
from lighter.trainer.checkpointing.defaults import are_default, left_by_exception, on_exception
from lighter.trainer.checkpointing.dtypes import CastValues
from lighter.trainer.checkpointing.fallback import beside, first_good, refuse_damaged
from lighter.trainer.checkpointing.restored import keep_own_files

if TYPE_CHECKING:
    from lighter.trainer import Trainer

log = logging.getLogger("lighter.runs")

LEFT_BY_EXCEPTION = "the fit goes on from %s, which an OnExceptionCheckpoint left of one that failed"
_WEIGHTS = {"state_dict", "current_model_state"}  # the second of `WeightAveraging`
_BY_NAME = (None, "last", "best", "hpc")  # rather than by a path


class CheckpointConnector(LightningsConnector):
    """Lightning's connector, in the order of whose methods a checkpoint is restored.

    Private, because nothing public stands between `fit(ckpt_path="last")` and the loading.
    """

    trainer: Trainer
    _cast: CastValues | None = None  # until the fit has started

    @no_srun_hint()
    def choose(
        self, state_fn: TrainerFn, ckpt_path: Any, model_provided: bool, model_connected: bool
    ) -> str | Path | None:
        is_by_name = ckpt_path in _BY_NAME
        takes_left = ckpt_path is None and state_fn == TrainerFn.FITTING and on_exception(self.trainer)
        if takes_left and self.hpc_resume_path is None:
            ckpt_path = left_by_exception(self.trainer)
            if ckpt_path is None:
                return None  # Lightning would take the last checkpoint of any fit
            log.warning(LEFT_BY_EXCEPTION, ckpt_path)
        if ckpt_path == "best" and are_default(self.trainer.checkpoint_callbacks):
            ckpt_path = getattr(self.trainer.checkpoint_callback, "best_model_path", None) or ckpt_path
        path = super().choose(state_fn, ckpt_path, model_provided, model_connected)
        if path is None or "://" in str(path) or not Path(path).exists():
            return path
        if not is_by_name:
            refuse_damaged(str(path), verify)
            return path
        good = first_good([one for one in [Path(path), *beside(Path(path))] if one.exists()], verify)
        if good is None:
            raise CheckpointError(f"none of the checkpoints in {Path(path).parent} can be used")
        return str(good)

    def resume_start(self, checkpoint_path: str | Path | None = None, weights_only: bool | None = None) -> None:
        # not earlier: only now do the callbacks know their folders
        trainer = self.trainer
        if trainer.state.fn == TrainerFn.FITTING and trainer.is_global_zero:
            folders = {one.dirpath for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)}
            for folder in {*folders, Path(checkpoint_path).parent if checkpoint_path else None}:
                if folder is not None and "://" not in str(folder):
                    clean(Path(folder))
        self._load(checkpoint_path, weights_only)
        checkpoint, module = self.loaded_checkpoint, getattr(trainer, "lightning_module", None)
        if checkpoint and module is not None and not trainer.strategy.restore_checkpoint_after_setup:  # others shard
            names = module.state_dict()
            checkpoint |= {key: renamed_as_in(names, checkpoint[key]) for key in _WEIGHTS & checkpoint.keys()}

    def _load(self, path: str | Path | None, weights_only: bool | None) -> None:
        strategy = self.trainer.strategy
        if path and not is_remote(path) and is_sharded(Path(path)):
            # takes 0.2 s to import, and few need it
            from lighter.trainer.checkpointing.sharded_reading import read_folder, refuse_pickles

            if has_shards(self.trainer) or not strategy.restore_checkpoint_after_setup:
                self.ckpt_path = str(path)
                self.loaded_checkpoint = read_folder(self.trainer, Path(path), weights_only=weights_only is not False)
                return
            if weights_only is not False:  # FSDP's first version loads it by itself, and DCP does so by `pickle`
                refuse_pickles(Path(path))
        # such a strategy loads a file by itself: torch would ask the environment
        only = weights_only is not False if has_shards(self.trainer) else weights_only
        super().resume_start(path, weights_only=only)

    def restore_callbacks(self) -> None:
        # before they have their states: they delete files that their states name
        trainer = self.trainer
        checkpoint, source, run = self.loaded_checkpoint, self.ckpt_path, trainer.stopping.folder
        if checkpoint:
            keep_own_files(trainer, checkpoint, source, run)
        super().restore_callbacks()
        if checkpoint and source is not None and trainer.state.fn == TrainerFn.FITTING:
            trainer.saves.left_over.look(trainer, checkpoint, source, run)
        # after `super()`, as callbacks that average weights load the module's there
        self._cast = None
        if checkpoint and not trainer.strategy.restore_checkpoint_after_setup:
            states = [checkpoint[key] for key in ("current_model_state", "state_dict") if key in checkpoint]
            self._cast = CastValues(trainer.lightning_module, states)

    def restore_modules_and_callbacks(
        self, checkpoint_path: str | Path | None = None, weights_only: bool | None = None
    ) -> None:
        super().restore_modules_and_callbacks(checkpoint_path, weights_only)
        # the changes of hooks count from here: none of the fit was called yet
        if self.trainer.state.fn == TrainerFn.FITTING:
            fit_loop: Any = self.trainer.fit_loop
            fit_loop.begin_looking(resumes=bool(self.loaded_checkpoint))

    def restore_training_state(self) -> None:
        # the precision plugin has converted the module by now
        if self._cast is not None:
            self._cast.restore_weights()
        super().restore_training_state()

    def restore_optimizers(self) -> None:
        super().restore_optimizers()
        # torch has cast the states to the types that the parameters have now
        if self._cast is not None:
            self._cast.add_optimizers(self.trainer.optimizers, self.loaded_checkpoint["optimizer_states"])

    def restore_converted(self) -> list[str]:
        """Restore unrounded what `on_train_start` has converted, by `self.double()` say.

        Returns:
            the weights whose type still differs from that in the checkpoint.
        """
        if self._cast is None:
            return []
        cast, self._cast = self._cast, None
        cast.restore()
        return cast.differing()
