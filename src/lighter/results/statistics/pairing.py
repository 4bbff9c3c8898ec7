"""Pair the members of two sides: by fold where there are folds, by seed where both sides have the same seeds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np

from lighter.results.statistics.scores import Refusal, Scores

LEAST = 3


@dataclass(frozen=True)
class Pairs:
    """The values of two sides that are compared.

    Attributes:
        pairing: "seed", "fold", "seed and fold" or "none".
        one: (pairs,) or, if nothing is paired, (members,).
        other: likewise.
        rows: for each pair the members of both sides that are in it; empty if nothing is paired.
    """

    pairing: str
    one: np.ndarray
    other: np.ndarray
    rows: tuple[tuple[list[int], list[int]], ...] = ()

    @property
    def has_folds(self) -> bool:
        return "fold" in self.pairing

    @property
    def difference(self) -> float:
        """The difference of the means; NaN if a side is empty or not finite, without NumPy's warnings."""
        means = [float(np.mean(side)) if len(side) else math.nan for side in (self.one, self.other)]
        return means[0] - means[1]


def pair(one: Scores, other: Scores) -> Pairs | Refusal:
    """Return what is compared with what.

    Members of one fold are averaged over their seeds, since folds and not members are what the correction for shared
    data counts; so are members with the same seed, which are repetitions of one run. Seeds that only one side has are
    left out if half of the smaller side, and three or more, are in both; otherwise nothing is paired.
    """
    if _has_folds(one) or _has_folds(other):
        common = _rows(one.folds, other.folds)
        if len(common) < LEAST:
            folds = "1 fold" if len(common) == 1 else f"{len(common)} folds"
            return Refusal(f"The two sides have {folds} in common, and a comparison needs {LEAST}.")
        has_seeds = len(set(one.seeds)) > 1 and set(one.seeds) == set(other.seeds)
        return _pairs("seed and fold" if has_seeds else "fold", one, other, common)
    common = _rows(one.seeds, other.seeds)
    smaller, larger = sorted(len(set(side.seeds)) for side in (one, other))
    if len(common) == larger or len(common) >= max(LEAST, smaller / 2):
        return _pairs("seed", one, other, common)
    return Pairs("none", one.values, other.values)


def _has_folds(side: Scores) -> bool:
    return any(fold is not None for fold in side.folds)


def _rows(one: Iterable[Hashable], other: Iterable[Hashable]) -> tuple[tuple[list[int], list[int]], ...]:
    """Return, for each key that both have, the positions at which it is in each of them."""
    first, second = (_positions(keys) for keys in (one, other))
    return tuple((rows, second[key]) for key, rows in first.items() if key in second)


def _positions(keys: Iterable[Hashable]) -> dict[Hashable, list[int]]:
    positions: dict[Hashable, list[int]] = {}
    for position, key in enumerate(keys):
        if key is not None:
            positions.setdefault(key, []).append(position)
    return positions


def _pairs(pairing: str, one: Scores, other: Scores, rows: tuple[tuple[list[int], list[int]], ...]) -> Pairs:
    first = np.array([np.mean(one.values[members]) for members, _ in rows])
    second = np.array([np.mean(other.values[members]) for _, members in rows])
    return Pairs(pairing, first, second, rows)
