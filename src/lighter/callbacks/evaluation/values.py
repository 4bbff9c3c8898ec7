"""The values of all samples of an evaluation: a few numbers for each, and its index in the dataset."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lighter.parts.metrics.arrays import to_numpy

SCORE = "score"
_SAVED = ("score", "target", "prediction")


class SampleValues:
    """Keep values on their device, batch by batch, until they are asked for."""

    def __init__(self) -> None:
        self._indices: list[np.ndarray] = []
        self._values: dict[str, list[Tensor]] = {}

    def add(self, indices: np.ndarray, values: Mapping[str, Tensor]) -> None:
        self._indices.append(indices)
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all values by name, and the indices as `index`; each has one entry for each sample."""
        arrays = {name: to_numpy(torch.cat(values)) for name, values in self._values.items()}
        return {"index": np.concatenate(self._indices), **arrays} if arrays else {}


def joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Join the arrays of all processes, in the order of the indices."""
    parts = [part for part in parts if part]
    if not parts:
        return {"index": np.zeros(0, np.int64), SCORE: np.zeros(0, np.float32)}
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(arrays["index"], kind="stable")
    return {name: array[order] for name, array in arrays.items()}


def counted(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the values of the samples that have a score."""
    has_score = ~np.isnan(arrays[SCORE])
    return {name: array[has_score] for name, array in arrays.items()}


def as_npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the bytes of a file with the index and score of each sample, and its target and prediction."""
    content = io.BytesIO()
    saved = {name: _small(arrays[name]) for name in ("index", *_SAVED) if name in arrays}
    np.savez_compressed(content, **saved)  # type: ignore[arg-type]
    return content.getvalue()


def _small(array: np.ndarray) -> np.ndarray:
    """Return whole numbers in the smallest type that has them, which takes a third of the time to compress."""
    if array.dtype.kind != "i" or not len(array) or array.min() < 0:
        return array
    return array.astype(np.min_scalar_type(array.max()))
