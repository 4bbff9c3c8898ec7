"""Refuse to resume a fit beyond the end of a schedule with a fixed number of steps (`total_steps`).

torch's `OneCycleLR`, for one, raises an error at the first step too many, in the middle of the training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.callbacks import EarlyStopping, Timer

from lighter.base import BaseModule
from lighter.errors import RunError
from lighter.parts.optimization.lr_schedules import CHECKPOINT_KEY as MANUAL_SCHEDULES

NEW_SCHEDULE = "To begin a new schedule: lighter resume RUN --take no-optimizer"
_MAY_END_SOONER = (EarlyStopping, Timer)


def ends_of(checkpoint: Mapping[str, Any]) -> str:
    """Describe the schedules of a checkpoint that have a fixed number of steps; no text if there is none."""
    manual = (checkpoint.get(MANUAL_SCHEDULES) or {}).values()
    states = [*(checkpoint.get("lr_schedulers") or ()), *(one["scheduler"] for one in manual)]
    ends = [(one["last_epoch"], one["total_steps"]) for one in states if "total_steps" in one and "last_epoch" in one]
    return "".join(f" The saved one has {total:,} steps in all, of which {done:,} are taken." for done, total in ends)


class ScheduleEnds(Callback):
    """Refuse to resume a fit that would take more steps than a schedule has; nothing was trained by then."""

    def __init__(self) -> None:
        self._checkpoint: Mapping[str, Any] | None = None

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # checked later: manual schedules have their state a moment after the others
        self._checkpoint = checkpoint

    def on_train_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        checkpoint, self._checkpoint = self._checkpoint, None
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        # how long such a fit is, nobody knows yet
        if checkpoint is None or any(isinstance(one, _MAY_END_SOONER) for one in callbacks):
            return
        problems = [
            f"{name} has {total:,} steps in all, of which {done:,} are taken, and this fit takes {left:,} more."
            f" {NEW_SCHEDULE}"
            for name, total, done, left in _planned(trainer, pl_module, checkpoint.get(MANUAL_SCHEDULES) or {})
            if done + left > total
        ]
        if problems:
            raise RunError("\n".join(problems))


def _planned(
    trainer: pl.Trainer, module: LightningModule, saved: Mapping[str, Any]
) -> Iterator[tuple[str, int, int, int]]:
    """Yield the schedules with a fixed number of steps: name, that number, how many are taken and to come."""
    planned = trainer.estimated_stepping_batches
    steps = 0 if math.isinf(planned) else int(planned) - trainer.global_step
    epochs = (trainer.max_epochs or 0) - trainer.current_epoch
    schedules = [
        (one.scheduler, vars(one.scheduler), (steps if one.interval == "step" else epochs) // one.frequency)
        for one in (trainer.lr_scheduler_configs if module.automatic_optimization else ())
    ]
    schedules += [
        (one.scheduler, saved[one.key]["scheduler"], steps // one.frequency)
        for one in (module.manual_schedules() if isinstance(module, BaseModule) else ())
        if one.key in saved
    ]
    for scheduler, state, left in schedules:
        if "total_steps" in state and left > 0:
            yield scheduler.__class__.__name__, state["total_steps"], state["last_epoch"], left
