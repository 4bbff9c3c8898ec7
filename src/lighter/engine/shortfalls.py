"""Warnings at the end of a successful fit that did not train, step or validate, or save its last state."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from lighter._lightning.saves import last_step_saved

log = logging.getLogger("lighter.runs")

_OF_EACH_EPOCH = "For one of each epoch, add another with filename: last, enable_version_counter: false"
_BY_HAND = (
    "Lightning counts the steps of `self.optimizers()` only, and logs and saves by that count: take the optimizers from"
    " there"
)


class Shortfalls(Callback):
    """Watch a fit, and warn at its end of what never happened in it."""

    def __init__(self) -> None:
        self._has_validated = False
        self._batches = self._steps = 0  # before this fit

    def on_train_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        # A resumed fit does not begin at zero.
        self._has_validated, self._batches, self._steps = False, _batches(trainer), trainer.global_step

    def on_validation_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self._has_validated |= not trainer.sanity_checking

    def on_fit_end(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            for message in self._shortfalls(trainer, pl_module):
                log.warning("%s", message)

    def _shortfalls(self, trainer: pl.Trainer, module: LightningModule) -> Iterator[str]:
        batches = _batches(trainer) - self._batches
        if not batches:
            if trainer.limit_train_batches:
                yield f"nothing was trained: {_why_nothing(trainer)}"
            return
        if trainer.global_step == self._steps:
            by_hand = not module.automatic_optimization
            why = _BY_HAND if by_hand else "`training_step` returned no loss, or gradients still add up"
            yield f"no step of an optimizer was counted in {_several(batches, 'batch', 'batches')}. {why}"
        if trainer.enable_validation and not self._has_validated:
            yield f"validation never ran: {_why_not_validated(trainer, batches)}"
        callbacks = trainer.checkpoint_callbacks
        if callbacks and not any(_has_saved(callback) for callback in callbacks):
            yield "no checkpoint was saved"
        for callback in callbacks:
            yield from _stale_last(callback, trainer.global_step)


def _stale_last(callback: Checkpoint, step: int) -> Iterator[str]:
    # Lightning saves the last checkpoint with those that are among the best, and at no other time.
    if not (isinstance(callback, ModelCheckpoint) and callback.save_last and callback.monitor):
        return
    if 0 < (saved := last_step_saved(callback)) < step:
        name, taken = Path(callback.last_model_path).name, _several(step, "step was taken", "steps were taken")
        yield (
            f"{name} is of step {saved:,}, and {taken}: with `monitor`, `save_last` saves only what is among the"
            f" best. {_OF_EACH_EPOCH}"
        )


def _batches(trainer: pl.Trainer) -> int:
    return int(trainer.fit_loop.epoch_loop.batch_progress.total.processed)  # type: ignore[attr-defined]


def _why_nothing(trainer: pl.Trainer) -> str:
    if trainer.current_epoch and trainer.max_epochs == trainer.current_epoch:
        return f"the {_several(trainer.current_epoch, 'epoch', 'epochs')} of trainer::max_epochs are done already"
    if trainer.max_epochs == 0 or trainer.max_steps == 0:
        return "trainer::max_epochs or trainer::max_steps is 0"
    if trainer.global_step and trainer.max_steps == trainer.global_step:
        return f"the {_several(trainer.global_step, 'step', 'steps')} of trainer::max_steps are done already"
    return "the training data gave no batch"


def _why_not_validated(trainer: pl.Trainer, batches: int) -> str:
    every, epochs = trainer.check_val_every_n_epoch, trainer.current_epoch
    if every is not None and every > epochs > 0:
        return f"trainer::check_val_every_n_epoch is {every}, and the fit had {_several(epochs, 'epoch', 'epochs')}"
    trained = f"the fit trained {_several(batches, 'batch', 'batches')}"
    expected = trainer.num_training_batches
    if epochs and batches < epochs * expected and trainer.global_step != trainer.max_steps:
        return (
            f"the training data says that an epoch has {expected} batches, after which it would run, and {trained} in"
            f" {_several(epochs, 'epoch', 'epochs')}. Mend the data's `__len__`, or validate sooner:"
            " trainer::val_check_interval=BATCHES"
        )
    return f"{trained}, and it is due every {trainer.val_check_batch} batches (trainer::val_check_interval)"


def _several(number: int, one: str, more: str) -> str:
    return f"{number:,} {one if number == 1 else more}"


def _has_saved(callback: Checkpoint) -> bool:
    paths = (getattr(callback, name, None) for name in ("best_model_path", "last_model_path"))
    # A callback of another kind does not say whether it has saved.
    return any(paths) or not hasattr(callback, "best_model_path")
