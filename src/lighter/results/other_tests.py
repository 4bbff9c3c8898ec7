"""Tests beside the one that decides: a Bayesian one with a region of equivalence, and almost stochastic order."""

from __future__ import annotations

from lighter.results.statistics.pairing import LEAST, pair
from lighter.results.statistics.scores import Refusal, Scores


def bayes(one: Scores, other: Scores, *, is_maximized: bool, region: float, share: float | None) -> str:
    """Return how probable it is that one side is better than the other, and that they are as good as equal."""
    from lighter.results.statistics.bayes import correlated_bayes

    name = "Bayesian correlated t test (Corani and Benavoli 2015)"
    pairs = pair(one, other)
    if isinstance(pairs, Refusal):
        return f"{name}: {pairs.reason}"
    differences = pairs.one - pairs.other if pairs.rows else None
    if differences is None or len(differences) < LEAST or not differences.std():
        return f"{name}: needs {LEAST} pairs or more that do not all differ by the same."
    of_folds = (1 / (len(differences) - 1) if share is None else share) if pairs.has_folds else 0.0
    found = correlated_bayes(differences if is_maximized else -differences, region=region, share=of_folds)
    equal = f", {found.equivalent:.1%} that they differ by no more than {region:g}" if region else ""
    return f"{name}: {found.one_greater:.1%} that it is better{equal}, {found.other_greater:.1%} that it is worse."


def stochastic_order(one: Scores, other: Scores, *, is_maximized: bool) -> str:
    """Return whether one side is better than the other at nearly all quantiles."""
    from lighter.results.statistics.stochastic_order import almost_stochastic_order

    name = "almost stochastic order (Dror et al. 2019)"
    if min(len(one.values), len(other.values)) < LEAST:
        return f"{name}: needs {LEAST} members or more of each side."
    sign = 1 if is_maximized else -1
    bounds = [almost_stochastic_order(sign * a.values, sign * b.values) for a, b in ((one, other), (other, one))]
    return f"{name}: violation ratio at most {bounds[0]:.2g} for better, {bounds[1]:.2g} for worse (below 0.5: so)."
