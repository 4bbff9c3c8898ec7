"""Check the loss and gradients where Lightning's own code optimizes, by its closure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer

from lighter._lightning.closures import Closure, ClosureResult, wrapped_closure
from lighter._lightning.steps import accumulates
from lighter.trainer.nonfinite.steps import StepCheck

if TYPE_CHECKING:
    from lighter.trainer import Trainer


def checked(
    closure: Closure, check: StepCheck, trainer: Trainer, optimizer: Optimizer, kwargs: Mapping[str, Any]
) -> Closure:
    """Wrap a closure so that its loss and gradients are checked, before hooks on the optimizer's step and clipping."""
    batch = kwargs.get("batch")
    is_first = trainer.fit_loop.epoch_loop.batch_idx % trainer.accumulate_grad_batches == 0

    def step(train: Callable[[], ClosureResult]) -> ClosureResult:
        if is_first:
            check.begin()
        result = train()
        if result.closure_loss is not None:
            result.closure_loss = check.loss(result.closure_loss, result.extra, batch)
        return result

    def backward(back_propagate: Callable[[Tensor], None], loss: Tensor) -> None:
        back_propagate(loss)
        if not accumulates(trainer):
            check.gradients(optimizer, batch)

    return wrapped_closure(closure, step, backward)
