"""Tensors in batches of any structure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

HAS_NO_DEVICE = frozenset({str, int, float, bool, type(None)})


def is_on(item: Any, device: torch.device) -> bool:
    # Lightning would visit each text in a list of them
    if type(item) is Tensor:
        return item.device == device
    return type(item) in (list, tuple) and {*map(type, item)} <= HAS_NO_DEVICE


def tensors_in(batch: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(batch, Tensor):
        yield name, batch
    elif isinstance(batch, Mapping):
        for key, value in batch.items():
            yield from tensors_in(value, f"{name}.{key}" if name else str(key))
    elif isinstance(batch, (list, tuple)):
        for number, value in enumerate(batch):
            yield from tensors_in(value, f"{name}[{number}]" if name else f"batch[{number}]")
    elif is_dataclass(batch) and not isinstance(batch, type):
        for field in fields(batch):
            yield from tensors_in(getattr(batch, field.name), f"{name}.{field.name}" if name else field.name)


def samples_in(batch: Any) -> int | None:
    """Count the samples of a batch as Lightning does: the first dimension of its first tensor; None without one."""
    # most batches are told by their first item, without a generator, as this runs at every step
    first = batch
    if type(batch) in (list, tuple, dict) and batch:
        first = batch[0] if type(batch) is not dict else next(iter(batch.values()))
    tensor = first if type(first) is Tensor else next((tensor for _, tensor in tensors_in(batch)), None)
    if tensor is None:
        return None
    return tensor.size(0) if tensor.ndim else 1


def sizes_that_differ(batch: object) -> dict[str, int]:
    """Name the first tensor of a batch and the first with another first dimension, with these; empty if all agree."""
    named, size = list(tensors_in(batch)), samples_in(batch)
    others = ((name, tensor.size(0)) for name, tensor in named[1:] if tensor.ndim)
    other = next((entry for entry in others if entry[1] != size), None)
    return {} if other is None or size is None else {named[0][0]: size, other[0]: other[1]}
