"""Private names of torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _NormBase

TensorT = TypeVar("TensorT", bound=Tensor)

ATTENTION_ON_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
BatchNorms = _NormBase  # the base class of batch and instance normalization


def without_subclass_functions() -> AbstractContextManager:
    """While this lasts, subclasses of `Tensor` do not see operations; of torch's guide "Extending PyTorch"."""
    return torch._C.DisableTorchFunctionSubclass()


def tensor_of_subclass(cls: type[TensorT], value: Tensor) -> TensorT:
    """Make a tensor of a subclass with a value's memory, without calling its constructor."""
    tensor: TensorT = torch.Tensor._make_subclass(cls, value)
    return tensor


def note_nonfinite(tensors: Sequence[Tensor], flag: Tensor, one: Tensor) -> None:
    """Set a flag on the device to 1 if any value is NaN or Inf, as a loss scaler does: without a look from the host."""
    # multiplies the values by the scale `one` as well, which has to leave them as they are
    torch._amp_foreach_non_finite_check_and_unscale_(tensors, flag, one)  # type: ignore[arg-type]


def unsaved_buffers(module: nn.Module) -> set[str]:
    """Return the names of a module's buffers that were registered with `persistent=False`."""
    return module._non_persistent_buffers_set


def default_store() -> Any:
    """Return the key-value store by which the processes of the default group found each other."""
    return distributed.distributed_c10d._get_default_store()
