"""Scores of single samples: of two runs over the samples of a data set, or of members and samples at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from lighter.results.statistics.pairing import Pairs
from lighter.results.statistics.scores import Scores

LEAST_SAMPLES = 30
Samples = Iterable[Mapping[int, float] | None]
Tables = tuple[np.ndarray, np.ndarray]


def sample_tables(one: Scores, other: Scores, *, is_maximized: bool) -> Tables | None:
    """Return the scores (members, samples) of both sides on the samples that all members recorded.

    Samples' scores are better the higher they are; the tables have the direction of the metric, so that the negative
    squared errors of a mean squared error are squared errors again. None if there are fewer than 30.
    """
    if not one.samples or not other.samples:
        return None
    recorded = [set(samples or ()) for samples in (*one.samples, *other.samples)]
    common = sorted(set.intersection(*recorded))
    if len(common) < LEAST_SAMPLES:
        return None
    sign = 1 if is_maximized else -1
    return sign * _table(one.samples, common), sign * _table(other.samples, common)


def metric_tables(one: Scores, other: Scores, pairs: Pairs, *, is_maximized: bool) -> Tables | None:
    """Return the tables of what is compared, if the samples' means are the metric of each member.

    Otherwise the samples have scores of something else, say the likelihood where the metric is the accuracy.
    """
    tables = sample_tables(one, other, is_maximized=is_maximized)
    if tables is None:
        return None
    means = np.concatenate([table.mean(axis=1) for table in tables])
    if not np.allclose(means, np.concatenate([one.values, other.values]), rtol=1e-4, atol=1e-6):
        return None
    if not pairs.rows:
        return tables
    sides = zip(tables, zip(*pairs.rows, strict=True), strict=True)
    first, second = (np.stack([table[members].mean(axis=0) for members in rows]) for table, rows in sides)
    return first, second


def _table(members: Samples, common: list[int]) -> np.ndarray:
    return np.array([[samples[index] for index in common] for samples in members if samples is not None])
