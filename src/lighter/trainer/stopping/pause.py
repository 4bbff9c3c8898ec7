"""Pause a fit at a value of one of the trainer's counters: saved exactly, so that it resumes as if it had not paused.

An experiment's schedule pauses its members so. Unlike a lower `max_epochs`, a pause changes nothing of the fit:
learning rate schedules are those of the whole fit, and the hooks of a fit's end wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.utilities.exceptions import SIGTERMException

COUNTERS = ("max_epochs", "max_steps", "max_time")


class Paused(SIGTERMException):  # which Lightning's loops and launchers let through, in all processes
    """The fit has paused, and is saved."""


@dataclass(frozen=True)
class Pause:
    """Where to pause.

    Attributes:
        counter: one of `COUNTERS`: epochs that are over, steps of the optimizer, or seconds, looked at between epochs.
    """

    counter: str
    value: float

    def between_epochs(self, trainer: pl.Trainer) -> None:
        """Pause before an epoch begins, in all processes.

        Raises:
            Paused: the counter has reached the value.
        """
        if trainer.current_epoch == 0:  # which an experiment could say nothing of
            return
        if self.counter == "max_epochs" and trainer.current_epoch >= self.value:
            raise Paused
        if self.counter == "max_time" and trainer.strategy.broadcast(_seconds(trainer) >= self.value):
            raise Paused

    def after_batch(self, trainer: pl.Trainer) -> None:
        """Pause after a batch, in all processes.

        Raises:
            Paused: the counter has reached the value.
        """
        if self.counter == "max_steps" and trainer.global_step >= self.value:
            raise Paused


def _seconds(trainer: pl.Trainer) -> float:
    """Return the training time, earlier starts included: that of the timer which Lightning makes of `max_time`."""
    timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]
    return max((timer.time_elapsed("train") for timer in timers), default=0.0)
