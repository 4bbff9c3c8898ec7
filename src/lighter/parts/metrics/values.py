"""Sort values of metrics into numbers, which can be logged, and arrays, which are kept in files.

| value | becomes |
| --- | --- |
| a number; a tensor or array of one | a number |
| a vector of up to 32, as F1 by class | the numbers `NAME_0`, `NAME_1`, ... |
| a matrix, a longer vector | an array |
| a list or tuple of numbers | the numbers `NAME_0`, `NAME_1`, ...; of one, `NAME` |
| a list or tuple with anything else in it, as a curve | the arrays `NAME_0`, `NAME_1`, ... |
| a dict | each entry, by its key |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lighter.errors import MisfitError
from lighter.parts.plain_tensors import plain_tensor

MAX_NUMBERS = 32  # of a vector: a column of metrics.csv each


class Values(NamedTuple):
    """Values of metrics by name: `numbers` are tensors without dimensions, `arrays` are other tensors."""

    numbers: dict[str, Tensor]
    arrays: dict[str, Tensor]


def sort_values(name: str, computed: object) -> Values:
    """Sort the value that a metric computed: a number, a tensor, or lists, tuples or a dict of these.

    Entries of a dict are named by their keys, everything else by `name`.

    Raises:
        MisfitError: a value is none of these.
    """
    values = Values({}, {})
    for key, value in computed.items() if isinstance(computed, Mapping) else [(name, computed)]:
        for inner, tensor, is_number in _sorted(str(key), value):
            (values.numbers if is_number else values.arrays)[inner] = tensor
    return values


def _sorted(name: str, value: object) -> Iterator[tuple[str, Tensor, bool]]:
    if value is None:
        return
    # a dict at the top is named by its keys alone; further in, keys may repeat
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _sorted(f"{name}_{key}", item)
    elif isinstance(value, (list, tuple)):
        if len(value) == 1:
            yield from _sorted(name, value[0])
            return
        # a curve is several arrays, and stays so if one of them has a single element
        items = list(_arrays(name, value))
        are_numbers = all(tensor.numel() == 1 for _, tensor in items)
        yield from ((each, tensor.reshape(()) if are_numbers else tensor, are_numbers) for each, tensor in items)
    else:
        tensor = _tensor(name, value)
        if tensor.numel() == 1:
            yield name, tensor.reshape(()), True
        elif tensor.ndim == 1 and 0 < len(tensor) <= MAX_NUMBERS:
            yield from ((f"{name}_{number}", item, True) for number, item in enumerate(tensor))
        else:
            yield name, tensor, False


def _arrays(name: str, value: object) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _arrays(f"{name}_{number}", item)
    elif value is not None:
        yield name, _tensor(name, value)


def _tensor(name: str, value: object) -> Tensor:
    if isinstance(value, Tensor):
        return plain_tensor(value)
    if isinstance(value, (bool, int, float)):
        return torch.tensor(value)
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        return torch.as_tensor(value)
    raise MisfitError(
        f"the metric `{name}` gives a {type(value).__name__}; a metric gives numbers, tensors or arrays, or lists,"
        " tuples or a dict of these"
    )
