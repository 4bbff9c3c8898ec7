"""Manual optimization: Lightning's, with the gradients looked at before each step, and the loss afterwards."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from pytorch_lightning.core.optimizer import do_nothing_closure  # which stands for none
from torch import Tensor

from lighter._lightning.loops import ManualOptimization as LightningManualOptimization
from lighter.trainer.loops.step_view import StepView
from lighter.trainer.nonfinite.steps import StepCheck


class ManualOptimization(LightningManualOptimization):
    """The user's training step calls the optimizers."""

    trainer: Any
    view: StepView | None = None

    def run(self, kwargs: OrderedDict) -> dict[str, Any]:
        """Run the training step on a batch. Returns the loss and what else it returned."""
        return self._run(kwargs) if self.view is None else self.view.call(self._run, (kwargs,))

    def _run(self, kwargs: OrderedDict) -> dict[str, Any]:
        check = self.trainer.finite_check.steps
        return super().run(kwargs) if check is None else self._run_checked(check, kwargs)

    def _run_checked(self, check: StepCheck, kwargs: OrderedDict) -> dict[str, Any]:
        batch = kwargs.get("batch")

        def look(optimizer: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
            closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
            if not _makes_gradients(closure):
                check.gradients(optimizer, batch)
                return args, kwargs
            # the optimizer calls it within its step, so before that there are no gradients to look at
            looking = _then(closure, lambda: check.gradients(optimizer, batch))
            if "closure" in kwargs:
                return args, {**kwargs, "closure": looking}
            return (args[0], looking, *args[2:]), kwargs

        # torch's own hooks: the user's step calls the optimizers whenever it likes
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


def _makes_gradients(closure: Any) -> bool:
    """Return whether the optimizer is yet to call a closure of the user's."""
    # Lightning wraps the user's closure in a `partial`, and one that does nothing where there is none
    return closure is not None and do_nothing_closure not in getattr(closure, "args", ())


def _then(closure: Callable[[], Any], look: Callable[[], None]) -> Callable[[], Any]:
    def looking() -> Any:
        loss = closure()
        look()
        return loss

    return looking
