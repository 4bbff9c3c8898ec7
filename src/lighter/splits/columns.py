"""Labels, groups and times of a dataset's samples, from its attributes; only labels may be read from the samples."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sized
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning.utilities.seed import isolate_rng
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from lighter.splits.settings import SplitError

log = logging.getLogger("lighter")

_LABELS = ("targets", "labels", "y")
_KEYS = ("target", "label", *_LABELS)
Column = NDArray[Any]


def column(value: Any, dataset: Any, samples: int, key: str) -> Column:
    """Return a value of each sample: `value` is an attribute of the dataset, a key of its samples, or the values.

    Raises:
        SplitError: there are no such values, or not one for each sample.
    """
    values = _named(value, dataset, samples, key) if isinstance(value, (str, int)) else _array(value)
    if values is None or values.ndim != 1 or len(values) != samples:
        shown = "no list" if values is None else f"of shape {tuple(values.shape)}"
        raise SplitError(f"`{key}` is a value for each of the {samples} samples; this is {shown}", key)
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise SplitError(f"`{key}` has NaN in it: {int(np.isnan(values).sum())} of {samples}", key)
    return values


def find_labels(dataset: Any, samples: int) -> Column:
    """Return the labels of a dataset that does not say which they are.

    They are `targets`, `labels` or `y`, or the last tensor of a `TensorDataset`; otherwise each sample is read once.

    Raises:
        SplitError: there are none.
    """
    found = _of_parts(dataset, _held_labels)
    if found is not None and found.ndim == 1 and len(found) == samples:
        return found
    return _read(dataset, samples, None, "labels")


def _held_labels(dataset: Any) -> Column | None:
    if isinstance(dataset, TensorDataset):
        return _array(dataset.tensors[-1]) if len(dataset.tensors) > 1 else None
    found = (getattr(dataset, name, None) for name in _LABELS)
    return next((_array(values) for values in found if isinstance(values, Sized)), None)


def _of_parts(dataset: Any, held: Callable[[Any], Column | None]) -> Column | None:
    """Return what a dataset holds; of one that is made of others, what those hold."""
    if type(dataset) is Subset:
        inner = _of_parts(dataset.dataset, held)
        return inner[np.asarray(dataset.indices)] if inner is not None else None
    if type(dataset) is ConcatDataset:
        parts = [_of_parts(part, held) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return np.concatenate(known) if len(known) == len(parts) else None
    return held(dataset)


def _named(name: str | int, dataset: Any, samples: int, key: str) -> Column | None:
    def held(inner: Any) -> Column | None:
        for step in str(name).split("."):
            # nothing private: the name may be of an untrusted config
            inner = getattr(inner, step, None) if step.isidentifier() and not step.startswith("_") else None
        return None if inner is None or callable(inner) else _array(inner)

    found = _of_parts(dataset, held) if isinstance(name, str) else None
    return found if found is not None else _read(dataset, samples, name, key)


def _read(dataset: Any, samples: int, name: str | int | None, key: str) -> Column:
    log.info("the %s are not held by %s: each of its %d samples is read once", key, type(dataset).__name__, samples)
    # what transforms draw here, the training must not miss
    with isolate_rng():
        values = [_of_sample(dataset[index], name, key) for index in range(samples)]
    read = _array(values)
    if read is None:
        raise SplitError(f"the {key} of the samples are no numbers or texts", key)
    return read


def _of_sample(sample: Any, name: str | int | None, key: str) -> Any:
    try:
        if name is not None:
            value = sample[name]
        elif isinstance(sample, Mapping):
            value = sample[next(each for each in _KEYS if each in sample)]
        else:
            value = sample[-1] if isinstance(sample, (tuple, list)) and len(sample) > 1 else None
    except (StopIteration, LookupError, TypeError):
        value = None
    if value is None:
        wanted = f"nothing under {name!r}" if name is not None else "none that is known"
        hint = f"Say where they are: `{key}: NAME`, an attribute of the dataset or a key of its samples,\n"
        hint += f"or an expression: {key}: $@vars::table['label']"
        raise SplitError(f"the {key} of the samples are not found: a sample has {wanted}", key, hint)
    return value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value


def _array(values: Any) -> Column | None:
    """Return values as an array of numbers or texts; None if they are neither."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError):
        return None
    if array.dtype.kind == "O":  # a column of pandas has texts so
        array = array.astype(str) if all(isinstance(each, str) for each in array.ravel()) else np.empty(())
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    return array if array.ndim else None
