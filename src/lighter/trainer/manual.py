"""Manual optimization: Lightning's, with the gradients looked at before each step, and the loss afterwards."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from pytorch_lightning.loops.optimization.manual import _ManualOptimization  # private, as all of Lightning's loops are
from torch import Tensor

from lighter.trainer.finite.at_once import AtOnce
from lighter.trainer.finite.later import Later


class ManualOptimization(_ManualOptimization):
    """The user's training step calls the optimizers."""

    trainer: Any

    def run(self, kwargs: OrderedDict) -> dict[str, Any]:
        """Run the training step on a batch. Returns the loss and what else it returned."""
        check = self.trainer.finite_check.steps
        return super().run(kwargs) if check is None else self._run_checked(check, kwargs)

    def _run_checked(self, check: AtOnce | Later, kwargs: OrderedDict) -> dict[str, Any]:
        batch = kwargs.get("batch")

        def look(optimizer: Any, args: Any, kwargs: Any) -> None:
            check.gradients(optimizer, batch)

        hooks = [optimizer.register_step_pre_hook(look) for optimizer in self.trainer.optimizers]
        check.begin()
        try:
            outputs = super().run(kwargs)
        finally:
            for hook in hooks:
                hook.remove()
        loss = outputs.get("loss")
        check.returned(loss if isinstance(loss, Tensor) else None, outputs, batch)
        return outputs
