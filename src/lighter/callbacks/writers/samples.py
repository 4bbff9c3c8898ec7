"""Split what `predict_step` returned into values per sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lighter.config.problems import nearest
from lighter.errors import PredictionError
from lighter.parts.describe import describe

_PLAIN = {str, int, float, bool, type(None)}


def columns(outputs: object, keys: Sequence[str], writer: str) -> dict[str, Any]:
    """Return the values under some keys, one for every sample: a tensor on the host, an array or a list.

    Raises:
        PredictionError: the output is no dict, a key is missing, or the lengths differ.
    """
    if not isinstance(outputs, Mapping):
        raise PredictionError(
            f"{writer} needs a dict from `predict_step`, with {_listed(keys)}; it returned {describe(outputs)}."
            f'\n  return {{"{keys[0]}": ...}}'
        )
    missing = [key for key in keys if key not in outputs]
    if missing:
        raise PredictionError(
            f"{writer} is to write {_listed(missing)}, but `predict_step` returned {describe(outputs)}."
            f" {nearest(missing[0], outputs)}"
        )
    values = {key: _on_host(outputs[key], key, writer) for key in keys}
    if len({len(column) for column in values.values()}) > 1:
        lengths = ", ".join(f"`{key}` has {len(values[key])} ({describe(outputs[key])})" for key in keys)
        raise PredictionError(f"{writer} writes a row for each sample, so its keys are of one length: {lengths}")
    return values


def cells(values: Any) -> list[Any]:
    """Convert values for text files: numbers, text, booleans, None; and lists of these if a sample has several."""
    if isinstance(values, (Tensor, np.ndarray)):
        return values.tolist()
    return list(values) if {*map(type, values)} <= _PLAIN else [plain(value) for value in values]


def plain(value: object) -> Any:
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if type(value) in _PLAIN else str(value)


def _on_host(value: object, key: str, writer: str) -> Any:
    if isinstance(value, (list, tuple)) and value and all(isinstance(item, Tensor) for item in value):
        # stacked, so that they are one transfer from the device
        alike = {(item.shape, item.dtype, item.device) for item in value}
        value = torch.stack(list(value)) if len(alike) == 1 else [item.detach().cpu() for item in value]
    if isinstance(value, Tensor):
        value = value.detach()
        # NumPy and CSV have no bfloat16
        value = value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
        return (value if value.ndim else value.reshape(1)).cpu()
    if isinstance(value, np.ndarray):
        return value if value.ndim else value.reshape(1)
    if isinstance(value, (list, tuple)):
        return value
    raise PredictionError(
        f"{writer} needs a value for each sample under `{key}`: a tensor, an array or a list; found {describe(value)}"
    )


def _listed(keys: Sequence[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)
