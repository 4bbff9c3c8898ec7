"""Bayesian comparison over folds: how likely each side is better, and how likely the difference does not matter."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lighter.results.statistics.scipy_import import scipy_stats


class Posterior(NamedTuple):
    """The probabilities that B is greater by more than the region, that the difference is in it, and that A is."""

    other_greater: float
    equivalent: float
    one_greater: float


def correlated_bayes(differences: np.ndarray, *, region: float = 0.0, share: float = 0.0) -> Posterior:
    """Bayesian correlated t test of paired differences A - B.

    Args:
        differences: (pairs,), three or more that are not all equal.
        region: a difference of at most this much does not matter in practice (ROPE).
        share: test data divided by training data, where the pairs are folds.

    Source: Corani and Benavoli, A Bayesian Approach for Comparing Cross-Validated Algorithms (2015). With a flat prior
    the posterior is Student's t with the variance of Nadeau and Bengio. baycomp computes the same.
    """
    count = len(differences)
    scale = float(np.sqrt((1 / count + share) * np.var(differences, ddof=1)))
    posterior = scipy_stats().t(count - 1, loc=float(np.mean(differences)), scale=scale)
    low, high = float(posterior.cdf(-region)), float(posterior.sf(region))
    return Posterior(low, max(0.0, 1 - low - high), high)
