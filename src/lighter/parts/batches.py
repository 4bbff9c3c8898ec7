"""Tensors in batches of any structure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

HAS_NO_DEVICE = frozenset({str, int, float, bool, type(None)})


def is_on(item: Any, device: torch.device) -> bool:
    """Return whether an item of a batch need not be moved; Lightning would visit each text in a list of them."""
    if type(item) is Tensor:
        return item.device == device
    return type(item) in (list, tuple) and {*map(type, item)} <= HAS_NO_DEVICE


def tensors_in(batch: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in lists, tuples, dicts and dataclasses, with the keys and indices that lead there."""
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
