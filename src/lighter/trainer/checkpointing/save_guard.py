"""Saves that cannot be written: stop the fit or train on, and keep the earlier checkpoints.

Lightning's `ModelCheckpoint` notes a checkpoint as saved before it is, and then deletes the one that it replaces. So
each of its saves is an attempt here: if the file cannot be written, its bookkeeping is rolled back and nothing is
deleted, in all processes alike. The outcome of a file that a thread writes is asked for at the next save or the end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.callbacks import ModelCheckpoint

from lighter._lightning.saves import (
    bookkeeping_of,
    given_checkpoint_io,
    guarded,
    is_fast_dev_run,
    restore_bookkeeping,
    training_weights,
    without_first_steps,
)
from lighter._lightning.trainer import checkpoint_connector
from lighter.errors import StorageError
from lighter.trainer.checkpointing.earlier_starts import STOPPED, LeftOver
from lighter.trainer.checkpointing.guarded_io import GuardedFiles
from lighter.trainer.checkpointing.io import GRADIENTS, CheckpointFiles
from lighter.trainer.checkpointing.storage_errors import NO_ROOM, storage_error
from lighter.trainer.resume.state import waiting_gradients

if TYPE_CHECKING:
    from lighter.trainer import Trainer

log = logging.getLogger("lighter.runs")

_STOPS = "then lighter resume, or start again; or train without it: trainer::on_save_error=continue"
_GOES_ON = "The training goes on, and the next save tries again (on_save_error: continue)"


class SaveGuard(Callback):
    """Guard the saves of a trainer's fits.

    `files` are the trainer's own checkpoint files; None where the user's or the strategy's are used, which say nothing
    of DDP's other processes. If it `continues`, a fit trains on without a checkpoint that cannot be written.
    """

    def __init__(self, files: GuardedFiles | None, *, continues: bool) -> None:
        self.files, self.continues = files, continues
        self.failed = 0  # saves of the last fit
        self.left_over = LeftOver()
        self._is_failing = self._is_attempt = self._is_under_way = False
        self._undo: Callable[[], None] | None = None  # of the bookkeeping of the callback whose file is under way
        self._guarded: list[tuple[ModelCheckpoint, ModelCheckpoint]] = []  # with the user's; loggers refer to them

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # type: ignore[override]
        # the last callback, to be called after the last saves of the others
        self._release(trainer)
        if stage != "fit":
            return
        self.failed, self._is_failing = 0, False
        self.left_over = LeftOver()
        self._guarded = [(guarded(one, self), one) for one in trainer.callbacks if isinstance(one, ModelCheckpoint)]
        twins = {id(original): twin for twin, original in self._guarded}
        trainer.callbacks = [*(twins.get(id(one), one) for one in trainer.callbacks if one is not self), self]

    def _release(self, trainer: Trainer) -> None:
        originals = {id(twin): original for twin, original in self._guarded}
        trainer.callbacks = [originals.get(id(one), one) for one in trainer.callbacks]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # type: ignore[override]
        # a fit that is resumed from it deletes it once a callback has saved a newer one
        if trainer.stopping.is_saving:
            checkpoint["lighter"] = {**checkpoint.get("lighter", {}), STOPPED: True}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # type: ignore[override]
        self._finish(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # type: ignore[override]
        self._finish(trainer)
        self._release(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # type: ignore[override]
        # between fits the callbacks are the user's objects
        self._release(trainer)

    def save(self, trainer: Trainer, save: Callable[[], None], path: str | Path) -> None:
        """Call Lightning's `save`; the file is there when this returns, unless a callback saves it with `async_save`.

        Raises:
            StorageError: it cannot be written, and no fit runs that continues without it.
        """
        self.settle(trainer)
        validation: Any = trainer.fit_loop.epoch_loop.val_loop
        try:
            with training_weights(trainer, in_validation=trainer.validating and validation.is_in_epoch):
                save()
        except OSError as system_error:
            # of files that are not ours: the other processes do not know of the error
            if trainer.world_size > 1:
                raise
            error: StorageError | None = storage_error(system_error, path)
        else:
            in_background = self.files is not None and self.files.in_background
            # only a callback's save can be rolled back later
            self._is_under_way = in_background and self._is_attempt and not trainer.interrupted
            error = None if self._is_under_way else self._agreed_outcome(trainer)
        is_fitting = trainer.state.fn == "fit" and trainer.state.status in ("running", "interrupted")
        # an attempt decides for itself, and nobody goes on without the file outside of a fit
        if error is not None and (self._is_attempt or not is_fitting):
            raise error
        if error is None:
            self.left_over.saved(path, by_callback=self._is_attempt)
        if not self._is_under_way:
            self._end_attempt(trainer, error)

    def attempt(self, trainer: Trainer, callback: ModelCheckpoint, save: Callable[[], None]) -> None:
        """Call a method of a callback that saves, and roll back its bookkeeping if the file cannot be written.

        Raises:
            StorageError: it cannot be written, and the fit does not continue without it.
        """
        if self._is_attempt:  # a part of another
            save()
        # Lightning saves the last one of a fast_dev_run, if `save_last` is on
        if self._is_attempt or is_fast_dev_run(trainer):
            return
        self.settle(trainer)
        earlier, self._is_attempt = bookkeeping_of(callback), True
        try:
            save()
        except StorageError as error:
            restore_bookkeeping(callback, earlier)
            self._end_attempt(trainer, error)
        else:
            self._undo = (lambda: restore_bookkeeping(callback, earlier)) if self._is_under_way else None
            self.left_over.remove_resumed(trainer, callback)
        finally:
            self._is_attempt = False

    def is_free(self, path: str | Path) -> bool:
        return self.left_over.is_free(path)

    def settle(self, trainer: Trainer) -> None:
        """Wait for the checkpoint that a thread is writing, if one is.

        Raises:
            StorageError: it could not be written, and the fit does not continue without it.
        """
        if not self._is_under_way:
            return
        self._is_under_way = False
        undo, self._undo = self._undo, None
        error = self._agreed_outcome(trainer)
        if error is not None and undo is not None:
            undo()
        self._end_attempt(trainer, error)

    def _agreed_outcome(self, trainer: Trainer) -> StorageError | None:
        # one process writes, and only that one knows; of a fit that fails, the others may be gone
        error = self.files.outcome() if self.files is not None else None
        if self.files is None or trainer.world_size == 1 or trainer.interrupted:
            return error
        told = trainer.strategy.broadcast((str(error), error.errno) if error is not None else None)
        return StorageError(*told) if told is not None else None

    def _end_attempt(self, trainer: Trainer, error: StorageError | None) -> None:
        if error is not None:
            self.failed += 1
            if not (self.continues or trainer.interrupted):
                first = "Make room" if error.errno in NO_ROOM else "See to the disk"
                raise StorageError(f"{error}. {first}, {_STOPS}", error.errno) from error
        if trainer.is_global_zero and (error is not None) != self._is_failing:
            if error is not None:
                log.warning("%s%s", error, "" if trainer.interrupted else f". {_GOES_ON}")
            else:
                log.info("checkpoints are written again")
        self._is_failing = error is not None

    def _finish(self, trainer: Trainer) -> None:
        self.settle(trainer)
        if self.failed and self.continues and trainer.is_global_zero:
            saves = "1 save" if self.failed == 1 else f"{self.failed} saves"
            log.warning("%s of checkpoints failed in this fit", saves)


def save_sharded(trainer: Trainer, files: GuardedFiles, path: str | Path, weights_only: bool | None) -> None:
    """Save the shards of all processes, in place of Lightning's strategy, which writes them where they are read."""
    with trainer.profiler.profile("save_checkpoint"):
        with without_first_steps(trainer.optimizers):
            checkpoint = checkpoint_connector(trainer).dump_checkpoint(weights_only)
        if not weights_only and (gradients := waiting_gradients(trainer)):
            checkpoint[GRADIENTS] = gradients
        files.save_folder(checkpoint, path)


def guard_saves(trainer: Trainer, *, continues: bool, in_background: bool) -> SaveGuard:
    """Have a trainer's saves guarded.

    Raises:
        ValueError: a thread is to write them, and the user or the strategy does.
    """
    checkpoint_io = given_checkpoint_io(trainer)
    is_ours = type(checkpoint_io) is CheckpointFiles
    if in_background and not is_ours:
        how = type(checkpoint_io or trainer.strategy).__name__
        raise ValueError(f"async_save is for checkpoint files that Lighter writes, and here {how} does")
    files = GuardedFiles(in_background=in_background) if is_ours else None
    if files is not None:
        trainer.strategy.checkpoint_io = files
    return SaveGuard(files, continues=continues)
