"""Almost stochastic order: is one side better at nearly all quantiles, not only on average."""

from __future__ import annotations

import numpy as np

from lighter.results.statistics.inference import CONFIDENCE
from lighter.results.statistics.scipy_import import scipy_stats

STEP = 0.005
BOOTSTRAPS = 1000


def almost_stochastic_order(one: np.ndarray, other: np.ndarray, seed: int = 0) -> float:
    """Return an upper bound of the violation ratio of "A is stochastically greater than B"; below 0.5 A is better.

    Args:
        one: (members,) of A, where more is better: negate losses.
        other: (members,) of B.

    Sources: del Barrio, Cuesta-Albertos and Matran, An Optimal Transportation Approach for Assessing Almost Stochastic
    Order (2018); Dror, Shlomov and Reichart, Deep Dominance (2019). deepsig computes the same.
    """
    generator = np.random.default_rng(seed)
    ratio = float(_violation_ratios(one[None], other[None])[0])
    drawn = [side[generator.integers(len(side), size=(BOOTSTRAPS, len(side)))] for side in (one, other)]
    deviation = float(np.std(_violation_ratios(*drawn)))
    return float(np.clip(ratio + deviation * scipy_stats().norm.ppf(CONFIDENCE), 0, 1))


def _violation_ratios(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return, of each row, the share of the squared Wasserstein distance where A's quantile is below B's."""
    levels = np.arange(STEP, 1, STEP)
    below = _quantiles(other, levels) - _quantiles(one, levels)
    violated = np.sum(np.where(below > 0, below, 0) ** 2, axis=1)
    whole = np.sum(below**2, axis=1)
    ratios = np.full(len(whole), 0.5)
    np.divide(violated, whole, out=ratios, where=whole > 0)
    return ratios


def _quantiles(rows: np.ndarray, levels: np.ndarray) -> np.ndarray:
    count = rows.shape[1]
    positions = np.clip(np.ceil(count * levels).astype(int) - 1, 0, count - 1)
    quantiles: np.ndarray = np.sort(rows, axis=1)[:, positions]
    return quantiles
