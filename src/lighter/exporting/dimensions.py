"""The dynamic dimensions of a network's inputs, inferred from batches of several sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ShapesCollection

from lighter.errors import ExportError
from lighter.exporting.calls import Call, Shape, dtype_name

BATCH = "batch"


@dataclass(frozen=True)
class Input:
    """A tensor that a network gets.

    Attributes:
        shape: a number, or the name of a dimension that varies.
        seen: per dimension, the smallest and the largest size that the data had.
        factor: rows per sample along the dimension `batch`.
        limits: of integers, the smallest and the largest value that the data had.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    seen: tuple[tuple[int, int], ...]
    factor: int = 1
    limits: tuple[float, float] | None = None

    @property
    def batch(self) -> int | None:
        """The dimension along which there are samples."""
        return self.shape.index(BATCH) if BATCH in self.shape else None


def inputs_of(
    names: Sequence[str],
    call: Call,
    by_size: Mapping[int, Sequence[Shape]],
    every: Iterable[Sequence[Shape]],
    limits: Sequence[tuple[float, float] | None],
) -> list[Input]:
    """Describe the inputs of a call.

    Args:
        by_size: the shapes of a call's tensors, by the number of samples in the batch; where nothing is known of that,
            the first dimension is taken to be that of the samples.
        every: the shapes of all calls.

    Raises:
        ExportError: the number of dimensions changes.
    """
    observed = [*every, *by_size.values()]
    inputs = []
    for index, (name, tensor) in enumerate(zip(names, call.tensors, strict=True)):
        shapes = [each[index] for each in observed]
        changed = next((shape for shape in shapes if len(shape) != len(shapes[0])), None)
        if changed is not None:
            raise ExportError(
                f"the number of dimensions of the input `{name}` changes from call to call:"
                f" {shapes[0]}, then {changed}. In an exported program it is fixed"
            )
        sized = {size: each[index] for size, each in by_size.items()}
        seen = tuple((min(sizes), max(sizes)) for sizes in zip(*shapes, strict=True))
        batch, factor = _batch_of(sized) if tensor.ndim else (None, 1)
        shape = tuple(
            BATCH if dimension == batch else f"{name}_{dimension}" if low != high else low
            for dimension, (low, high) in enumerate(seen)
        )
        inputs.append(Input(name, dtype_name(tensor.dtype), shape, seen, factor, limits[index] if limits else None))
    return inputs


def _batch_of(by_size: Mapping[int, Shape]) -> tuple[int | None, int]:
    """Return the first dimension that is a multiple of the number of samples, and which multiple."""
    sizes = [*by_size]
    if not sizes:
        return 0, 1
    for dimension in range(len(by_size[sizes[0]])):
        factors = {by_size[size][dimension] / size for size in sizes}
        if len(factors) == 1 and len(sizes) > 1 and (factor := factors.pop()) >= 1 and factor.is_integer():
            return dimension, int(factor)
    return None, 1


def dynamic_shapes(call: Call, inputs: Sequence[Input], network: nn.Module) -> dict[str, Any]:
    """Return what `torch.export` is told: sizes of the batch are arbitrary, others as the network allows."""
    batch, collection = Dim(BATCH), ShapesCollection()  # type: ignore[no-untyped-call]
    for tensor, each in zip(call.tensors, inputs, strict=True):
        dynamic = {
            dimension: (batch * each.factor if each.factor > 1 else batch) if size == BATCH else Dim.DYNAMIC
            for dimension, size in enumerate(each.shape)
            if isinstance(size, str)
        }
        if dynamic:
            collection[tensor] = dynamic
    shapes: dict[str, Any] = collection.dynamic_shapes(network, call.args, call.kwargs)  # type: ignore[no-untyped-call]
    return shapes


def resized(call: Call, inputs: Sequence[Input], size: int) -> Call:
    """Return a call with the first samples of another, which has as many."""
    return call.replaced([_rows(tensor, each, size) for tensor, each in zip(call.tensors, inputs, strict=True)])


def repeated(call: Call, inputs: Sequence[Input], times: int) -> Call:
    """Return a call with the samples of another, several times."""
    pairs = zip(call.tensors, inputs, strict=True)
    return call.replaced(
        [tensor if each.batch is None else torch.cat([tensor] * times, each.batch) for tensor, each in pairs]
    )


def size_of(call: Call, inputs: Sequence[Input]) -> int:
    """Return the number of samples in a call."""
    sizes = [
        tensor.shape[each.batch] // each.factor
        for tensor, each in zip(call.tensors, inputs, strict=True)
        if each.batch is not None
    ]
    return min(sizes)


def _rows(tensor: Tensor, each: Input, size: int) -> Tensor:
    return tensor if each.batch is None else tensor.narrow(each.batch, 0, size * each.factor).clone()
