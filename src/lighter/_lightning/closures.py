"""Private names of Lightning's optimization: a step's closure, a search's callback, and an undeclared attribute."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loops.optimization.automatic import Closure as Closure
from pytorch_lightning.loops.optimization.automatic import ClosureResult as ClosureResult
from torch import Tensor


def wrapped_closure(
    closure: Closure,
    step: Callable[[Callable[[], ClosureResult]], ClosureResult],
    backward: Callable[[Callable[[Tensor], None], Tensor], None],
) -> Closure:
    """Wrap the parts of a closure: each wrapper gets the part that it stands around."""
    # private: nothing public stands between a loss, its gradients and the optimizer's step in Lightning's own loop
    train, back_propagate = closure._step_fn, closure._backward_fn
    # None where a step only runs forwards, as stochastic weight averaging has it in its last epoch
    wrapped = None if back_propagate is None else lambda loss: backward(back_propagate, loss)
    return Closure(lambda: step(train), wrapped, closure._zero_grad_fn)


def searches_learning_rate(callbacks: Iterable[Callback]) -> bool:
    """Return whether a search for a learning rate runs, which may diverge."""
    from pytorch_lightning.tuner.lr_finder import _LRCallback  # an untested version may not have it

    # its private callback is the only sign of it
    return any(isinstance(callback, _LRCallback) for callback in callbacks)


def logging_interval(trainer: Trainer) -> int:
    """Return `log_every_n_steps`; 50 where it is off."""
    # set by the logger connector, so no type checker knows it
    return trainer.log_every_n_steps or 50  # type: ignore[attr-defined]
