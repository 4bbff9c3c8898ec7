"""Which tensors are not finite: asked fast where all are, and by name where one is not."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lighter.parts.batches import tensors_in


@dataclass(frozen=True)
class Spoiled:
    """A tensor in which values are not finite.

    Attributes:
        name: what it is called.
        count: how many values are not finite.
        of: how many it has.
        first: the first of them: `nan`, `inf` or `-inf`.
        index: where that stands.
    """

    name: str
    count: int
    of: int
    first: float
    index: tuple[int, ...]

    def __str__(self) -> str:
        return f"`{self.name}`: {self.values}"

    @property
    def values(self) -> str:
        """How many values are not finite, and the first of them."""
        if self.of == 1:
            return str(self.first)
        return f"{self.count} of {self.of} values are not finite, the first is {self.first} at {list(self.index)}"


def gradients_of(optimizer: Any) -> list[Tensor]:
    """All gradients that an optimizer is about to use."""
    return [grad for group in optimizer.param_groups for p in group["params"] if (grad := p.grad) is not None]


def mark(tensors: Sequence[Tensor], flag: Tensor, one: Tensor) -> None:
    """Set the flag to 1 where a value is not finite, on the tensors' device; nothing waits for it.

    What gradient scalers use, which is private: three microseconds for the gradients of a small network, where the
    fastest public way takes thirteen. It also multiplies them by `one`, which changes no bit.
    """
    try:
        torch._amp_foreach_non_finite_check_and_unscale_(tensors, flag, one)  # type: ignore[arg-type]
    except RuntimeError:  # sparse or complex, or on a device that does not have it
        for tensor in tensors:
            flag.add_((~torch.isfinite(_dense(tensor))).any().to(flag))
        flag.clamp_(max=1)


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether all values of all tensors are finite: one reading for each device and type. Nothing is written.

    A sum is finite only if all its values are, and takes a twentieth of the time that the largest value takes. Where it
    is not, values may be large: then the largest one tells.
    """
    alike: dict[tuple[torch.device, torch.dtype], list[tuple[Tensor, Tensor]]] = {}
    for tensor in tensors:
        values = _dense(tensor)  # perhaps a copy: it is not kept
        if values.numel():  # of a sharded tensor, this process may have no part
            alike.setdefault((values.device, values.dtype), []).append((tensor, values.sum()))
    return all(
        _are_finite([total for _, total in group]) or _are_finite(largest([_dense(tensor) for tensor, _ in group]))
        for group in alike.values()
    )


def _are_finite(numbers: Sequence[Tensor]) -> bool:
    """Whether numbers of one device and type are finite."""
    if numbers[0].device.type == "cpu":
        return all(math.isfinite(number.item()) for number in numbers)
    return bool(torch.stack(tuple(numbers)).isfinite().all())  # one reading, for which the host waits


def largest(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """The largest absolute value of each tensor; `nan` where one is, and never an overflow."""
    norms: Sequence[Tensor] = torch._foreach_norm(list(tensors), ord=math.inf)
    return norms


def _dense(tensor: Tensor) -> Tensor:
    """The values of a tensor, or of this process's part of it, in a real type that torch can calculate with."""
    tensor = tensor.detach()
    local = getattr(tensor, "to_local", None)  # a DTensor's
    tensor = local() if local is not None else tensor
    tensor = tensor if tensor.layout is torch.strided else _stored(tensor)
    if tensor.is_complex():
        return torch.view_as_real(tensor.resolve_conj())
    return tensor.bfloat16() if tensor.itemsize == 1 else tensor  # exact for all types of 8 bits


def _stored(tensor: Tensor) -> Tensor:
    """The values that a sparse or jagged tensor stores, and those of another layout."""
    if tensor.is_mkldnn:
        return tensor.to_dense()
    return (tensor.coalesce() if tensor.is_sparse else tensor).values()


def first_spoiled(named: Iterator[tuple[str, Tensor]]) -> Spoiled | None:
    """The first tensor that is not finite, in the order given."""
    return next((found for name, tensor in named if (found := look_at(name, tensor)) is not None), None)


def look_at(name: str, tensor: Tensor) -> Spoiled | None:
    """What is not finite in a tensor; None if all is."""
    values = _dense(tensor)
    bad = ~torch.isfinite(values)
    count = int(bad.sum())
    if not count:
        return None
    index = tuple(int(i) for i in bad.nonzero()[0])
    return Spoiled(name, count, values.numel(), float(values[index]), index)


def weights_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What a checkpoint has of a module and what can be not finite: parameters and persistent buffers, in its order."""
    yield from parameters_of(module)
    for prefix, part in module.named_modules():
        for name, buffer in part.named_buffers(recurse=False):
            # private, and the only sign of what `register_buffer(persistent=False)` leaves out of checkpoints
            if name not in part._non_persistent_buffers_set and _has_values(buffer):
                yield f"{prefix}.{name}" if prefix else name, buffer


def _unnamed_weights_of(module: nn.Module) -> Iterator[Tensor]:
    """The same in any order: to work out the names takes longer than to look at the values."""
    for part in module.modules():
        without = part._non_persistent_buffers_set
        buffers = [buffer for name, buffer in part._buffers.items() if name not in without] if part._buffers else []
        yield from (weight for weight in (*part._parameters.values(), *buffers) if weight is not None)


def parameters_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters that can be not finite, in the order of the module."""
    return ((name, parameter) for name, parameter in module.named_parameters() if _has_values(parameter))


def _has_values(tensor: Tensor) -> bool:
    if is_lazy(tensor) or tensor.is_meta or not (tensor.is_floating_point() or tensor.is_complex()):
        return False
    kind = (type(tensor), tensor.dtype, tensor.layout)
    if kind not in _READABLE:
        _READABLE[kind] = _is_readable(tensor)
    return _READABLE[kind]


_READABLE: dict[Any, bool] = {}  # by the kind of tensor


def _is_readable(tensor: Tensor) -> bool:
    """Whether torch can calculate with a kind of tensor: not with 4 bits, nor where a subclass forbids it."""
    try:
        _dense(tensor).sum()
    except (NotImplementedError, TypeError):
        return False
    return True


def spoiled_weights(module: nn.Module) -> Collection[str]:
    """The names of the weights that are not finite."""
    if _all_weights_finite(module):
        return frozenset()
    return frozenset(name for name, weight in weights_of(module) if not all_finite([weight]))


def largest_value(tensor: Tensor) -> float:
    """The largest absolute value of a tensor; 0 if it is empty."""
    values = _dense(tensor)
    return float(largest([values])[0]) if values.numel() else 0.0


def first_spoiled_weight(module: nn.Module, but_not: Collection[str]) -> Spoiled | None:
    """The first weight that is not finite, apart from some."""
    if not but_not and _all_weights_finite(module):
        return None
    named = [(name, weight) for name, weight in weights_of(module) if name not in but_not]
    return None if all_finite([weight for _, weight in named]) else first_spoiled(iter(named))


def _all_weights_finite(module: nn.Module) -> bool:
    return all_finite([weight for weight in _unnamed_weights_of(module) if _has_values(weight)])


def spoiled_in(batch: Any) -> list[Spoiled]:
    """What is not finite in a batch, by the keys and indices that lead there."""
    found = (look_at(name or "the batch", tensor) for name, tensor in tensors_in(batch) if _has_values(tensor))
    return [spoiled for spoiled in found if spoiled is not None]
