"""The difference of two sides' interquartile means over several tasks: its interval, and a test.

`statistics/tasks.py` has the means and their intervals as Agarwal et al. (2021) define them, by percentiles of
resamples. Of the difference of two equal sides with 3 runs in each of 3 tasks, one in six such intervals is without 0.
So here the deviations are scaled by sqrt(n / (n - 1)), since resamples of n runs vary less than new runs do, and the
interval is Student's t times their spread: it is one in twenty then. A difference is called by a permutation of the
runs within their tasks, which is exact for equal sides.
"""

from __future__ import annotations

import numpy as np

from lighter.results.statistics.scipy_import import scipy_stats

RESAMPLES = 5000


def difference(one: np.ndarray, other: np.ndarray, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """Return the difference of the interquartile means of two sides (runs, tasks), and its 95% interval."""
    generator = np.random.default_rng(seed)
    spread = float((_resampled(one, generator) - _resampled(other, generator)).std())
    degrees = sum((len(side) - 1) * side.shape[1] for side in (one, other))
    value = float(_mean(one.ravel()) - _mean(other.ravel()))
    half = float(scipy_stats().t.ppf(0.975, degrees)) * spread
    return value, (value - half, value + half)


def p_value(one: np.ndarray, other: np.ndarray, seed: int = 0) -> float:
    """Return how often runs that are exchanged at random within their tasks differ by as much as two sides do."""
    generator = np.random.default_rng(seed)
    both = np.concatenate([one, other]).T  # (tasks, runs)
    order = generator.random((RESAMPLES, *both.shape)).argsort(axis=2)
    drawn = np.take_along_axis(np.broadcast_to(both, order.shape), order, axis=2)
    sides = (drawn[:, :, : len(one)], drawn[:, :, len(one) :])
    first, second = (_mean(side.reshape(RESAMPLES, -1)) for side in sides)
    seen = abs(_mean(one.ravel()) - _mean(other.ravel()))
    return float((1 + (np.abs(first - second) >= seen * (1 - 1e-9)).sum()) / (1 + RESAMPLES))


def _mean(values: np.ndarray) -> np.ndarray:
    return np.asarray(scipy_stats().trim_mean(values, 0.25, axis=-1))


def _resampled(scores: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return interquartile means of runs that are drawn again within each task."""
    runs, tasks = scores.shape
    drawn = scores[generator.integers(runs, size=(RESAMPLES, runs, tasks)), np.arange(tasks)]
    means = scores.mean(axis=0)
    scaled = means + (drawn - means) * np.sqrt(runs / (runs - 1))
    return _mean(scaled.reshape(RESAMPLES, -1))
