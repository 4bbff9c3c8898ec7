"""Where Lightning's own code optimizes: its closure, looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loops.optimization.automatic import Closure, ClosureResult  # private, as all of the loops are
from torch import Tensor

from lighter.trainer.nonfinite.deferred import Later
from lighter.trainer.nonfinite.eager import AtOnce


def checked(
    closure: Closure, check: AtOnce | Later, trainer: Any, optimizer: Any, kwargs: Mapping[str, Any]
) -> Closure:
    """A closure whose loss and gradients are looked at, before hooks on the optimizer's step and clipping."""
    batch, train, back_propagate = kwargs.get("batch"), closure._step_fn, closure._backward_fn
    batch_idx = trainer.fit_loop.epoch_loop.batch_idx

    def step() -> ClosureResult:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            check.begin()
        result = train()
        if result.closure_loss is not None:
            result.closure_loss = check.loss(result.closure_loss, result.extra, batch)
        return result

    def backward(loss: Tensor) -> None:
        assert back_propagate is not None
        back_propagate(loss)
        if not trainer.fit_loop._should_accumulate():
            check.gradients(optimizer, batch)

    return Closure(step, backward if back_propagate is not None else None, closure._zero_grad_fn)
