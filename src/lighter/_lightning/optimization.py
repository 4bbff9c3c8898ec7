"""Private names of Lightning's optimization: a step's closure, a search's callback, and an undeclared attribute."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.core.optimizer import do_nothing_closure
from pytorch_lightning.loops.optimization.automatic import Closure as Closure
from pytorch_lightning.loops.optimization.automatic import ClosureResult as ClosureResult
from pytorch_lightning.loops.optimization.automatic import _AutomaticOptimization
from pytorch_lightning.loops.optimization.manual import _ManualOptimization
from pytorch_lightning.tuner.lr_finder import _LRCallback
from torch import Tensor

from lighter._lightning.aliases import Renamed, alias

ManualOptimization = _ManualOptimization


class AutomaticOptimization(Renamed, _AutomaticOptimization):
    """Lightning's loop around one training step and its optimizer.

    Attributes:
        skips_backward: whether a step only runs forwards, as stochastic weight averaging has it in its last epoch.
    """

    skips_backward: bool = alias("_skip_backward")

    make_closure = _AutomaticOptimization._make_closure


def steps_plainly(trainer: Trainer) -> bool:
    """Return whether nothing stands between the first optimizer and its step: a user's wrapper, a scaler, an averager.

    Lightning steps its own wrapper of the optimizer, which a user may have given, and which manual optimization hooks.
    """
    strategy = trainer.strategy
    wrapper = strategy._lightning_optimizers[0]
    return (
        wrapper._optimizer is strategy.optimizers[0]
        and wrapper._on_before_step is do_nothing_closure
        and wrapper._on_after_step is do_nothing_closure
        and getattr(trainer.precision_plugin, "scaler", None) is None
        and getattr(strategy, "_model_averager", None) is None  # DDP's, which averages after the step
    )


def wrapped_closure(
    closure: Closure,
    step: Callable[[Callable[[], ClosureResult]], ClosureResult],
    backward: Callable[[Callable[[Tensor], None], Tensor], None],
) -> Closure:
    """Wrap the parts of a closure: each wrapper gets the part that it stands around.

    Private, as nothing public stands between a loss, its gradients and the optimizer's step in Lightning's own loop.
    """
    train, back_propagate = closure._step_fn, closure._backward_fn
    wrapped = None if back_propagate is None else lambda loss: backward(back_propagate, loss)
    return Closure(lambda: step(train), wrapped, closure._zero_grad_fn)


def searches_learning_rate(callbacks: Iterable[Callback]) -> bool:
    """Return whether a search for a learning rate runs, which may diverge; its private callback is the only sign."""
    return any(isinstance(callback, _LRCallback) for callback in callbacks)


def logging_interval(trainer: Trainer) -> int:
    """Return `log_every_n_steps`, which Lightning's logger connector sets on the trainer; 50 where it is off."""
    return trainer.log_every_n_steps or 50  # type: ignore[attr-defined]
