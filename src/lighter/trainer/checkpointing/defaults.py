"""The default checkpoint callbacks of `lighter.Trainer`, and the folder where all of them save."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, Checkpoint, ModelCheckpoint, OnExceptionCheckpoint

from lighter._lightning.saves import callbacks_of, save_unless_saved
from lighter.files.run_folder import BEST, CHECKPOINTS, LAST
from lighter.files.storage import joined

DEFAULT_MONITORS = ("val/loss/epoch", "val/loss/total/epoch")  # of one loss, and of several


def with_checkpoints(callbacks: list[Callback], folder: str | Path | None) -> list[Callback]:
    """Add the default checkpoints, unless there are some; let all save into the run's folder."""
    if not any(isinstance(one, Checkpoint) and not isinstance(one, OnExceptionCheckpoint) for one in callbacks):
        return [*callbacks, BestCheckpoint(folder), LastCheckpoint(folder)]
    for callback in callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None and folder is not None:
            callback.dirpath = _folder(folder)
    return callbacks


def _folder(folder: str | Path | None) -> str | None:
    # absolute: it is in the callback's state, and a fit that is resumed from another working directory compares it
    return joined(folder, CHECKPOINTS) if folder is not None else None


def first_of(callbacks: Sequence[Checkpoint]) -> Checkpoint | None:
    # those that only save a failure choose no checkpoint, and the best one none if no monitor is logged
    choosing = [one for one in callbacks if not isinstance(one, OnExceptionCheckpoint)] or callbacks
    idle = [one for one in choosing if isinstance(one, BestCheckpoint) and not one.best_model_path]
    return next((one for one in choosing if one not in idle), next(iter(choosing), None))


def are_default(callbacks: Sequence[Checkpoint]) -> bool:
    # none of them is a `ModelCheckpoint` of the user's
    return all(isinstance(one, (BestCheckpoint, LastCheckpoint, OnExceptionCheckpoint)) for one in callbacks)


def on_exception(trainer: pl.Trainer) -> list[OnExceptionCheckpoint]:
    return [one for one in callbacks_of(trainer) if isinstance(one, OnExceptionCheckpoint)]


def left_by_exception(trainer: pl.Trainer) -> str | None:
    """Return the newest file that an `OnExceptionCheckpoint` has left of an earlier fit."""
    files = [str(one.ckpt_path) for one in on_exception(trainer) if os.path.isfile(one.ckpt_path)]
    return max(files, key=os.path.getmtime, default=None)


class BestCheckpoint(ModelCheckpoint):
    """`best.ckpt`: the weights of the lowest validation loss, for modules that log it by our names."""

    # it saves after epochs; Lightning's asks after every step
    on_train_batch_end = Callback.on_train_batch_end

    def __init__(self, folder: str | Path | None) -> None:
        super().__init__(
            _folder(folder), filename=Path(BEST).stem, monitor=DEFAULT_MONITORS[0], enable_version_counter=False
        )

    @property
    def state_key(self) -> str:
        # Lightning's has the monitor in it, and which one is logged may change
        return type(self).__qualname__

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._finds_monitor(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._finds_monitor(trainer):
            super().on_validation_end(trainer, pl_module)

    def _finds_monitor(self, trainer: pl.Trainer) -> bool:
        self.monitor = next((name for name in DEFAULT_MONITORS if name in trainer.callback_metrics), self.monitor)
        return self.monitor in trainer.callback_metrics


class LastCheckpoint(ModelCheckpoint):
    """`last.ckpt`: everything needed to resume, as it was at the end of the newest epoch."""

    on_train_batch_end = Callback.on_train_batch_end

    def __init__(self, folder: str | Path | None) -> None:
        super().__init__(
            _folder(folder), filename=Path(LAST).stem, save_on_train_epoch_end=True, enable_version_counter=False
        )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # a fit that is resumed from `best.ckpt` may have nothing left to train, and no epoch that ends
        save_unless_saved(self, trainer)
