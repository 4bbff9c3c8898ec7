"""Other implementations of the same statistics: what they say, what ours say, and how far these may be apart.

Packages that are not among our dependencies are asked only where they are installed. What they said is recorded here,
so that ours are always compared; `python benchmarks/comparison_statistics.py --oracles` asks and prints.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats

from lighter.results.statistics.bayes import correlated_bayes
from lighter.results.statistics.corrections import holm
from lighter.results.statistics.inference import bca, exchanges, paired_t, sign_flips, signed_rank, welch
from lighter.results.statistics.stochastic_order import almost_stochastic_order
from lighter.results.statistics.tasks import interquartile_interval, interquartile_mean, probability_of_improvement


def drawn(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


SIDES = [(drawn(size).normal(0.3, 1, size), drawn(size + 100).normal(0, 1.5, size)) for size in (3, 5, 6, 8, 12, 25)]
TIED = np.array([1.0, 1.0, -1.0, 2.0, 0.0, 3.0, 3.0, -2.0])
TASKS = (drawn(1).beta(8, 2, size=(10, 6)), drawn(2).beta(7, 3, size=(10, 6)))
FOLDS = (drawn(3).normal(0.9, 0.02, 10), drawn(4).normal(0.89, 0.02, 10))  # 5 folds, twice
LOSSES = drawn(5).exponential(size=400) - 0.9
P_VALUES = [0.01, 0.2, 0.04, 0.03, 0.5, 0.012]


class Oracle(NamedTuple):
    """Another implementation.

    Attributes:
        package: what `theirs` imports.
        recorded: what it said; empty for SciPy, which is always there.
        tolerance: 1e-6, or what Monte Carlo error allows.
    """

    package: str
    ours: Callable[[], list[float]]
    theirs: Callable[[], list[float]]
    recorded: tuple[float, ...] = ()
    tolerance: float = 1e-6


def _students() -> list[float]:
    found = [inference for one, other in SIDES for inference in (paired_t(one - other), welch(one, other[:-1]))]
    return [number for each in found for number in (each.p_value, *each.interval)]


def _students_of_scipy() -> list[float]:
    tests = [
        test
        for one, other in SIDES
        for test in (stats.ttest_rel(one, other), stats.ttest_ind(one, other[:-1], equal_var=False))
    ]
    return [float(number) for test in tests for number in (test.pvalue, *test.confidence_interval(0.95))]


def _signed_ranks() -> list[float]:
    return [signed_rank(one - other).p_value for one, other in SIDES[2:]]


def _signed_ranks_of_scipy() -> list[float]:
    return [float(stats.wilcoxon(one, other, method="exact").pvalue) for one, other in SIDES[2:]]


def _tied_ranks_of_scipy() -> list[float]:
    ranks = stats.rankdata(np.abs(TIED)) * np.sign(TIED)

    def statistic(values: np.ndarray, axis: int) -> np.ndarray:
        return np.sum(np.where(values > 0, values, 0), axis=axis)

    found = stats.permutation_test((ranks,), statistic, permutation_type="samples", vectorized=True, n_resamples=np.inf)
    return [float(found.pvalue)]


def _permutations() -> list[float]:
    return [*(sign_flips(one - other) for one, other in SIDES[:4]), *(exchanges(*sides) for sides in SIDES[:3])]


def _permutations_by_hand() -> list[float]:
    return [*(_flipped(one - other) for one, other in SIDES[:4]), *(_exchanged(*sides) for sides in SIDES[:3])]


def _flipped(differences: np.ndarray) -> float:
    signs = itertools.product((1, -1), repeat=len(differences))
    means = np.array([np.mean(differences * np.array(each)) for each in signs])
    return float(np.mean(np.abs(means) >= abs(np.mean(differences)) - 1e-12))


def _exchanged(one: np.ndarray, other: np.ndarray) -> float:
    both = np.concatenate([one, other])
    chosen = [list(each) for each in itertools.combinations(range(len(both)), len(one))]
    means = np.array([np.mean(both[each]) - np.mean(np.delete(both, each)) for each in chosen])
    observed = np.mean(one) - np.mean(other)
    return min(1.0, *(2 * float(np.mean(sign * means >= sign * observed - 1e-12)) for sign in (1, -1)))


def _bca_of_scipy() -> list[float]:
    found = stats.bootstrap((LOSSES,), np.mean, n_resamples=1999, method="BCa", random_state=0)
    return [float(bound) for bound in found.confidence_interval]


def _holm_of_statsmodels() -> list[float]:
    from statsmodels.stats.multitest import multipletests

    return [float(value) for value in multipletests(P_VALUES, method="holm")[1]]


def _aggregates_of_rliable() -> list[float]:
    from rliable import metrics

    return [float(metrics.aggregate_iqm(TASKS[0])), float(metrics.probability_of_improvement(*TASKS))]


def _interval_of_rliable() -> list[float]:
    from rliable import library, metrics

    _, found = library.get_interval_estimates(
        {"a": TASKS[0]},
        lambda scores: np.array([metrics.aggregate_iqm(scores)]),
        reps=5000,
        random_state=np.random.RandomState(3),
    )
    return [float(bound) for bound in found["a"][:, 0]]


def _orders() -> list[float]:
    return [almost_stochastic_order(*sides) for sides in _ordered()]


def _orders_of_deepsig() -> list[float]:
    from deepsig import aso

    return [float(aso(one, other, seed=1, show_progress=False)) for one, other in _ordered()]


def _ordered() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    one, other = SIDES[4]
    yield from ((one + shift, other) for shift in (0.5, 1, 1.5))


def _folds_of_baycomp() -> list[float]:
    from baycomp import CorrelatedTTest

    return [float(value) for value in CorrelatedTTest.probs(FOLDS[1], FOLDS[0], rope=0.01, runs=2)]


ORACLES = {
    "t tests and intervals": Oracle("scipy", _students, _students_of_scipy),
    "signed-rank test": Oracle("scipy", _signed_ranks, _signed_ranks_of_scipy),
    "signed-rank test with ties": Oracle("scipy", lambda: [signed_rank(TIED).p_value], _tied_ranks_of_scipy),
    "permutation tests, enumerated": Oracle("scipy", _permutations, _permutations_by_hand),
    "BCa bootstrap": Oracle("scipy", lambda: [*bca(LOSSES).interval], _bca_of_scipy),
    "Holm's correction": Oracle(
        "statsmodels", lambda: holm(P_VALUES), _holm_of_statsmodels, (0.06, 0.4, 0.12, 0.12, 0.5, 0.06)
    ),
    "interquartile mean, improvement": Oracle(
        "rliable",
        lambda: [interquartile_mean(TASKS[0]), probability_of_improvement(*TASKS)],
        _aggregates_of_rliable,
        (0.8241492037344836, 0.75),
    ),
    "stratified interval": Oracle(
        "rliable",
        lambda: [*interquartile_interval(TASKS[0])],
        _interval_of_rliable,
        (0.7965874286320949, 0.8518025508832933),
        tolerance=0.004,
    ),
    "almost stochastic order": Oracle(
        "deepsig",
        _orders,
        _orders_of_deepsig,
        (0.4598042603659872, 0.17627560118528277, 0.04933857539631768),
        tolerance=0.03,
    ),
    "Bayesian correlated t test": Oracle(
        "baycomp",
        lambda: [*correlated_bayes(FOLDS[0] - FOLDS[1], region=0.01, share=1 / 4)],
        _folds_of_baycomp,
        (0.16845151449420542, 0.30026016518160537, 0.5312883203241893),
    ),
}


def asked(oracle: Oracle) -> list[float]:
    """Return what the other implementation says; its import may warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return oracle.theirs()


def gap(ours: list[float], theirs: list[float]) -> float:
    """Return the greatest disagreement."""
    return float(np.max(np.abs(np.subtract(ours, theirs))))
