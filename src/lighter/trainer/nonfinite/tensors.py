"""Find NaN and Inf in tensors: fast where there are none, by name and index where there are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from lighter._lightning.torch_internals import note_nonfinite, unsaved_buffers
from lighter.parts.batches import tensors_in


@dataclass(frozen=True)
class NonFinite:
    """A tensor with NaN or Inf in it."""

    name: str
    count: int  # of the values that are NaN or Inf
    of: int  # all values
    first: float  # NaN or Inf
    index: tuple[int, ...]  # of the first

    def __str__(self) -> str:
        return f"`{self.name}`: {self.values}"

    @property
    def values(self) -> str:
        if self.of == 1:
            return str(self.first)
        return f"{self.count} of {self.of} values are not finite, the first is {self.first} at {list(self.index)}"


def gradients_of(optimizer: Optimizer) -> list[Tensor]:
    return [grad for group in optimizer.param_groups for p in group["params"] if (grad := p.grad) is not None]


def mark(tensors: Sequence[Tensor], flag: Tensor, one: Tensor) -> None:
    """Set the flag to 1 where a value is NaN or Inf, on the tensors' device; the host waits for nothing."""
    # the kernel of gradient scalers: 3 us for the gradients of a small network, where the fastest public way takes 13.
    # It also multiplies them by `one`, which changes no bit
    try:
        note_nonfinite(tensors, flag, one)
    except RuntimeError:  # sparse or complex, or a device without that kernel
        for tensor in tensors:
            flag.add_((~torch.isfinite(_dense(tensor))).any().to(flag))
        flag.clamp_(max=1)


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Return whether no tensor has NaN or Inf; the host waits once for each type and device other than the CPU."""
    # a sum is finite only if all its values are, and takes a twentieth of the time of `isfinite`; it may overflow, so
    # one that is not finite decides nothing
    tensors = list(tensors)
    sums: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        values = _dense(tensor)  # perhaps a copy, so only the sum is kept
        if values.numel():
            sums[values.device, values.dtype].append(values.sum())
    if all(map(_are_finite, sums.values())):
        return True
    return all(_dense(tensor).isfinite().all() for tensor in tensors)


def _are_finite(numbers: Sequence[Tensor]) -> bool:
    """Return whether numbers of one type and device have no NaN or Inf."""
    if numbers[0].is_cpu:  # to read them all takes less than one operation
        return all(math.isfinite(number.item()) for number in numbers)
    return bool(torch.stack([*numbers]).isfinite().all())


def _dense(tensor: Tensor) -> Tensor:
    # a real type that torch can calculate with, and of a sharded tensor this process's shard
    tensor = tensor.detach()
    if (to_local := getattr(tensor, "to_local", None)) is not None:  # a DTensor
        tensor = to_local()
    if tensor.is_mkldnn:
        tensor = tensor.to_dense()
    elif tensor.layout is not torch.strided:
        tensor = (tensor.coalesce() if tensor.is_sparse else tensor).values()
    if tensor.is_complex():
        return torch.view_as_real(tensor.resolve_conj())
    return tensor.bfloat16() if tensor.itemsize == 1 else tensor  # exact for all types of 8 bits


def first_nonfinite(named: Iterable[tuple[str, Tensor]]) -> NonFinite | None:
    return next((found for name, tensor in named if (found := find_nonfinite(name, tensor)) is not None), None)


def find_nonfinite(name: str, tensor: Tensor) -> NonFinite | None:
    values = _dense(tensor)
    bad = ~torch.isfinite(values)
    count = int(bad.sum())
    if not count:
        return None
    index = tuple(int(i) for i in bad.nonzero()[0])
    return NonFinite(name, count, values.numel(), float(values[index]), index)


def nonfinite_in_batch(batch: object) -> list[NonFinite]:
    """Find the tensors of a batch with NaN or Inf, named by the keys and indices that lead to them."""
    found = (find_nonfinite(name or "the batch", tensor) for name, tensor in tensors_in(batch) if _has_values(tensor))
    return [one for one in found if one is not None]


def largest_value(tensor: Tensor) -> float:
    values = _dense(tensor)
    return float(torch.linalg.vector_norm(values, math.inf)) if values.numel() else 0.0


def parameters_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """List the parameters that can be NaN or Inf."""
    return ((name, parameter) for name, parameter in module.named_parameters() if _has_values(parameter))


def weights_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """List the parameters and persistent buffers that can be NaN or Inf: the weights of a checkpoint."""
    parts = _parts_of(module)
    seen: set[int] = set()  # one that is shared is looked at once
    for kind in ("_parameters", "_buffers"):
        for prefix, part in parts:
            tensors = getattr(part, kind)
            unsaved = unsaved_buffers(part) if tensors and kind == "_buffers" else ()
            for name, tensor in tensors.items():
                if tensor is None or id(tensor) in seen or name in unsaved or not _has_values(tensor):
                    continue
                seen.add(id(tensor))
                yield prefix + name, tensor


def _parts_of(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """List a module and all modules in it, each once, with the prefix of its tensors' names."""
    # in the order of `named_modules`, which takes eight times as long and is asked at the end of each epoch
    parts: list[tuple[str, nn.Module]] = []
    seen: set[int] = set()
    rest: list[tuple[str, nn.Module]] = [("", module)]
    while rest:
        prefix, part = rest.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        parts.append((prefix, part))
        if part._modules:
            children = ((f"{prefix}{name}.", child) for name, child in part._modules.items() if child is not None)
            rest += reversed([*children])
    return parts


def first_nonfinite_weight(module: nn.Module, exempt: Collection[str] = ()) -> NonFinite | None:
    named = [(name, weight) for name, weight in weights_of(module) if name not in exempt]
    return None if all_finite(weight for _, weight in named) else first_nonfinite(named)


def nonfinite_weights(module: nn.Module) -> frozenset[str]:
    named = list(weights_of(module))
    # of all at once first, as there are none as a rule
    if all_finite(weight for _, weight in named):
        return frozenset()
    return frozenset(name for name, weight in named if not all_finite([weight]))


_READABLE: dict[Any, bool] = {}  # by the kind of tensor, as the answer costs a calculation


def _has_values(tensor: Tensor) -> bool:
    # torch cannot calculate with 4 bits, say
    if is_lazy(tensor) or tensor.is_meta or not (tensor.is_floating_point() or tensor.is_complex()):
        return False
    kind = (type(tensor), tensor.dtype, tensor.layout)
    if kind not in _READABLE:
        try:
            _dense(tensor).sum()
            _READABLE[kind] = True
        except (NotImplementedError, TypeError):  # also where a subclass forbids it, as quantized tensors do
            _READABLE[kind] = False
    return _READABLE[kind]
