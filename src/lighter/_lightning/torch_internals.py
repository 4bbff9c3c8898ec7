"""Private names of torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn.modules.batchnorm import _NormBase

from lighter._lightning.dataloaders import WorkerIterator

BatchNorms = _NormBase  # the base class of batch and instance normalization


def without_subclass_functions() -> AbstractContextManager:
    """While this lasts, subclasses of `Tensor` do not see operations; of torch's guide "Extending PyTorch"."""
    return torch._C.DisableTorchFunctionSubclass()


def tensor_of_subclass(cls: type, value: Tensor) -> Tensor:
    """Make a tensor of a subclass with a value's memory, without calling its constructor."""
    return torch.Tensor._make_subclass(cls, value)


def note_nonfinite(tensors: Sequence[Tensor], flag: Tensor, scale: Tensor) -> None:
    """Set a flag on the device to 1 if any value is NaN or Inf, as a loss scaler does: without a look from the host."""
    torch._amp_foreach_non_finite_check_and_unscale_(list(tensors), flag, scale)


def greatest_of_each(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the greatest absolute value of each tensor, in few kernels."""
    norms: Sequence[Tensor] = torch._foreach_norm(list(tensors), ord=math.inf)
    return norms


def default_store() -> Any:
    """Return the key-value store by which the processes of the default group found each other."""
    return distributed.distributed_c10d._get_default_store()


def keeps_workers(iterator: WorkerIterator) -> bool:
    """Return whether the workers stay for the next epoch."""
    return iterator._persistent_workers


def shut_down(iterator: WorkerIterator) -> None:
    """End an iterator's workers."""
    iterator._shutdown_workers()
