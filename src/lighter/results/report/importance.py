"""Estimate how much of an objective each parameter of a search explains alone.

For a number: the share of the variance of the objective's ranks that a parabola in the parameter's ranks explains; for
a category: the share that the categories explain (correlation ratio). Both are adjusted for the number of terms (the
adjusted R squared), so that a parameter without influence comes to about zero. Ranks make it blind to scales and
outliers. It does not see interactions, for which a random forest (fANOVA, https://proceedings.mlr.press/v32/hutter14.html)
would need far more trials than a search of deep learning has.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

FEWEST_TRIALS = 8
METHOD = (
    "Share of the variance of the objective's ranks that the parameter explains alone (a parabola in its ranks, or its"
    " categories), adjusted for the number of terms. Interactions are not seen."
)


def importance(values: Sequence[Any], objective: Sequence[float]) -> float | None:
    """Return the importance of a parameter, from 0 to 1; None from fewer trials than tell anything, or of one value."""
    if len(values) < FEWEST_TRIALS or len({json.dumps(value, default=str) for value in values}) < 2:
        return None
    target = ranks(np.asarray(objective, float))
    if np.ptp(target) == 0:
        return None
    terms = _parabola(values) if all(map(is_number, values)) else _categories(values)
    matrix = np.column_stack([np.ones(len(target)), *terms])
    rank = int(np.linalg.matrix_rank(matrix))
    if rank >= len(target):
        return None
    fitted = matrix @ np.linalg.lstsq(matrix, target, rcond=None)[0]
    explained = 1 - ((target - fitted) ** 2).sum() / ((target - target.mean()) ** 2).sum()
    adjusted = 1 - (1 - explained) * (len(target) - 1) / (len(target) - rank)
    return float(np.clip(adjusted, 0, 1))


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of numbers, from 0 to 1; equal numbers have the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: np.ndarray = (ends - (counts + 1) / 2)[inverse] / max(len(values) - 1, 1)
    return means


def _parabola(values: Sequence[Any]) -> list[np.ndarray]:
    own = ranks(np.asarray(values, float))
    return [own, own**2]


def _categories(values: Sequence[Any]) -> list[np.ndarray]:
    texts = [json.dumps(value, default=str) for value in values]
    return [np.asarray([text == one for text in texts], float) for one in sorted(set(texts))[1:]]
