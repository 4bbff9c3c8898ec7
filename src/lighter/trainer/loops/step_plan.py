"""The plan of a validation, a test or a prediction: everything that is the same for all of its batches."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.precision import Precision

from lighter._lightning.modules import CURRENT_HOOK
from lighter._lightning.steps import takes_batch_idx
from lighter.trainer.loops.batches import plan_transfer
from lighter.trainer.loops.hooks import find_hook
from lighter.trainer.loops.step_view import StepView


class StepPlan:
    """The hooks, the transfer and the step of a stage, found once, or again when a callback comes or goes."""

    def __init__(self, trainer: pl.Trainer, stage: str, view: StepView | None = None, *, names_loader: bool) -> None:
        module, strategy = trainer.lightning_module, trainer.strategy
        self.callbacks = list(trainer.callbacks)  # type: ignore[attr-defined]
        # Lightning names the dataloader only where there are several
        self.names_loader = names_loader
        self.transfer = plan_transfer(trainer)
        self.batch_start = find_hook(trainer, f"on_{stage}_batch_start")
        self.batch_end = find_hook(trainer, f"on_{stage}_batch_end")
        self._attributes, self._step_name = vars(module), f"{stage}_step"
        self._takes_batch_idx = takes_batch_idx(getattr(module, self._step_name))
        is_direct = strategy.model is module and type(trainer.precision_plugin) is Precision
        self._owner = module if is_direct else strategy
        self._view = view

    def step(self, args: tuple[Any, ...]) -> Any:
        """Call the user's step, through a strategy's wrapper and a precision's context where there are such."""
        attributes = self._attributes
        outer_hook, attributes[CURRENT_HOOK] = attributes[CURRENT_HOOK], self._step_name
        if not self._takes_batch_idx:
            args = (args[0], *args[2:])
        step = getattr(self._owner, self._step_name)
        output = step(*args) if self._view is None else self._view.call(step, args)
        attributes[CURRENT_HOOK] = outer_hook
        return output
