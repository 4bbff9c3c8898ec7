"""Aggregates over several tasks: arrays (runs, tasks) in, the interquartile mean with its interval out.

Source: Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice (2021), whose rliable
computes the same. Scores of different tasks have to be on one scale, say all in [0, 1].
"""

from __future__ import annotations

import numpy as np

from lighter.results.statistics.inference import CONFIDENCE
from lighter.results.statistics.scipy_import import scipy_stats

TASK_RESAMPLES = 2000


def interquartile_mean(scores: np.ndarray) -> float:
    """Return the mean of the middle half of all scores (runs, tasks)."""
    return float(scipy_stats().trim_mean(scores, 0.25, axis=None))


def interquartile_interval(scores: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the 95% percentile interval of the interquartile mean; runs are resampled within each task.

    It is of all scores together: for a single task with few runs it covers too little, as any bootstrap does.
    """
    stats = scipy_stats()

    def statistic(*tasks: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(stats.trim_mean(np.concatenate(tasks, axis=axis), 0.25, axis=axis))

    found = stats.bootstrap(
        tuple(scores.T),
        statistic,
        n_resamples=TASK_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        random_state=seed,
    )
    low, high = found.confidence_interval
    return float(low), float(high)


def probability_of_improvement(one: np.ndarray, other: np.ndarray) -> float:
    """Return the probability that a run of A has a higher score than one of B, ties as halves, averaged over tasks.

    Args:
        one: (runs, tasks)
        other: (runs, tasks), the same tasks.
    """
    difference = one[:, None, :] - other[None, :, :]
    return float(np.mean(difference > 0) + np.mean(difference == 0) / 2)
