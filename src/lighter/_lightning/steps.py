"""The step that a trainer runs: its number, its stage, and whether its values are logged. On all versions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import RunningStage
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature

from lighter._lightning.versions import IS_TESTED

STAGES = {
    "train": (RunningStage.TRAINING,),
    "val": (RunningStage.VALIDATING, RunningStage.SANITY_CHECKING),
    "test": (RunningStage.TESTING,),
}
BATCHES_THAT_STEPPED = "_batches_that_stepped"  # the key of the training loop's step number in checkpoints
CALLS = count()


def logs_this_step(trainer: pl.Trainer) -> bool:
    """Return whether Lightning passes the values of the running training step to the loggers."""
    every, is_dev_run = trainer.log_every_n_steps, trainer.fast_dev_run  # type: ignore[attr-defined]
    if not IS_TESTED:
        return bool(is_dev_run or (every and (trainer.global_step + 1) % every == 0))
    # The public `global_step` counts every optimizer of a step, `log_every_n_steps` counts steps, and nothing public
    # says whether a batch only accumulates gradients.
    stepped = trainer.fit_loop.epoch_loop._batches_that_stepped
    due = bool(every) and ((stepped + 1) % every == 0 or trainer.should_stop)
    if not (due or is_dev_run):
        return False
    return not (trainer.lightning_module.automatic_optimization and trainer.fit_loop._should_accumulate())


def logging_step(trainer: pl.Trainer) -> int:
    """Return the step number that Lightning gives the loggers."""
    # so that our rows line up with those of `self.log`
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped) if IS_TESTED else trainer.global_step


def batches_started(trainer: pl.Trainer) -> int:
    """Return the number of the running training batch, over all epochs."""
    if not IS_TESTED:
        # each call counts as another batch, so a step that an optimizer repeats (LBFGS) is measured again
        return next(CALLS)
    # the public `global_step` stays the same while gradients accumulate
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    return int(progress.started)


def runs_steps_of(trainer: pl.Trainer, mode: str) -> bool:
    """Return whether a trainer runs steps of a mode now; at another moment it is the user who calls a step."""
    return trainer.state.stage in STAGES[mode]


def is_sanity_check(trainer: pl.Trainer) -> bool:
    """Return whether the validation before a fit runs."""
    # the public `sanity_checking` compares texts, and this is asked at every step
    return trainer.state.stage is RunningStage.SANITY_CHECKING


def accumulates(trainer: pl.Trainer) -> bool:
    return trainer.fit_loop._should_accumulate()


def fits_without_validation(trainer: pl.Trainer) -> bool:
    """Return whether a fit runs without validation data; False on an untested version."""
    if not IS_TESTED or trainer.state.fn != "fit":
        return False
    # The public `val_dataloaders` is known only once validation is set up. Lightning looks for a `validation_step`
    # before that, to warn of one that has no data.
    return not trainer.fit_loop.epoch_loop.val_loop._data_source.is_defined()


def takes_batch_idx(step: Callable) -> bool:
    """Return whether a step takes the index of the batch."""
    # the helper that Lightning itself asks, at every step
    return is_param_in_hook_signature(step, "batch_idx", min_args=2)
