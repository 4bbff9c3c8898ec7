"""Batches, gradients and optimizer steps without the ranges that torch opens around them for its profiler.

Each range takes some 15 microseconds, of a step that may take 500, whether a profiler runs or not. While one runs in
this thread, and wherever anything stands in the place of torch's own method, torch's own way is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch._C._autograd import _profiler_enabled
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks
from torch.utils.data.dataloader import (
    _DatasetKind,
    _MultiProcessingDataLoaderIter,
    _SingleProcessDataLoaderIter,
)

_ITERATORS = (_SingleProcessDataLoaderIter, _MultiProcessingDataLoaderIter)
_ZERO_GRAD = Optimizer.zero_grad
# the code that torch wraps the `step` of each class in; other wrappers may copy its attributes, but not its code
_PROFILED = Optimizer.profile_hook_step(lambda: None).__code__


def next_batch(iterator: Any) -> Any:
    """Return the next batch of a dataloader's iterator."""
    if (
        type(iterator) not in _ITERATORS
        or iterator._sampler_iter is None  # persistent workers that begin anew
        or iterator._dataset_kind == _DatasetKind.Iterable
        or _profiler_enabled()
    ):
        return next(iterator)
    batch = iterator._next_data()
    iterator._num_yielded += 1
    return batch


def zero_gradients(optimizer: Optimizer) -> None:
    """Do what `optimizer.zero_grad()` does."""
    if type(optimizer).zero_grad is not _ZERO_GRAD or "zero_grad" in vars(optimizer) or _profiler_enabled():
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad = None


def step_optimizer(optimizer: Optimizer, closure: Callable[[], Tensor | None]) -> None:
    """Do what `optimizer.step(closure=closure)` does."""
    step: Any = type(optimizer).step
    is_torchs = getattr(step, "__code__", None) is _PROFILED and "step" not in vars(optimizer)
    if is_torchs and not _has_hooks(optimizer) and not _profiler_enabled():
        step.__wrapped__(optimizer, closure=closure)
    else:
        optimizer.step(closure=closure)  # type: ignore[arg-type]


def _has_hooks(optimizer: Optimizer) -> bool:
    return bool(
        _global_optimizer_pre_hooks
        or _global_optimizer_post_hooks
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
    )
