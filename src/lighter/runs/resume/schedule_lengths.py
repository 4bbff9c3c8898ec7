"""Schedules of a fixed number of steps, of which a longer fit would take more than there are.

torch's `OneCycleLR` raises an error at the first step too many, in the middle of the training. It has `total_steps`, as
others of the kind have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import EarlyStopping, Timer

from lighter.base import BaseModule
from lighter.errors import RunError
from lighter.parts.optimization.lr_schedules import CHECKPOINT_KEY as MANUAL_SCHEDULES

NEW_SCHEDULE = "To begin a new schedule: lighter resume RUN --take no-optimizer"
_MAY_END_SOONER = (EarlyStopping, Timer)


def ends_of(checkpoint: Mapping[str, Any]) -> str:
    """Sentences about the schedules of a checkpoint that have a fixed number of steps; no text if there is none."""
    manual = (checkpoint.get(MANUAL_SCHEDULES) or {}).values()
    states = [*(checkpoint.get("lr_schedulers") or ()), *(one["scheduler"] for one in manual)]
    found = [(one["last_epoch"], one["total_steps"]) for one in states if "total_steps" in one and "last_epoch" in one]
    return "".join(f" The saved one has {total:,} steps in all, of which {done:,} are taken." for done, total in found)


class ScheduleEnds(Callback):
    """Refuses to resume a fit that a schedule ends before; nothing was trained by then."""

    def __init__(self) -> None:
        self._checkpoint: Mapping[str, Any] | None = None

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: Mapping[str, Any]) -> None:
        """The fit is resumed. Manual schedules have their state a moment after the others."""
        self._checkpoint = checkpoint

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The schedules are where the checkpoint was.

        Raises:
            RunError: one of them ends before the fit does.
        """
        checkpoint, self._checkpoint = self._checkpoint, None
        if checkpoint is None or any(isinstance(one, _MAY_END_SOONER) for one in trainer.callbacks):
            return
        problems = [
            f"{name} has {total:,} steps in all, of which {done:,} are taken, and this fit takes {left:,} more."
            f" {NEW_SCHEDULE}"
            for name, total, done, left in _planned(trainer, pl_module, checkpoint.get(MANUAL_SCHEDULES) or {})
            if done + left > total
        ]
        if problems:
            raise RunError("\n".join(problems))


def _planned(trainer: Any, module: Any, saved: Mapping[str, Any]) -> Iterator[tuple[str, int, int, int]]:
    """The schedules with a fixed number of steps: name, that number, how many are taken, and how many are to be."""
    steps, epochs = _steps_left(trainer), (trainer.max_epochs or 0) - trainer.current_epoch
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


def _steps_left(trainer: Any) -> int:
    """The optimizer steps that a fit has still to take; 0 where that is not known."""
    planned = trainer.estimated_stepping_batches
    return 0 if math.isinf(planned) else int(planned) - int(trainer.global_step)
