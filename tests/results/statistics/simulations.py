"""Simulated comparisons: how often an interval holds, and how often a difference is called where there is none.

The benchmark `comparison_statistics.py` runs them at length and prints tables; the tests run a short form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy import stats

from lighter.results.statistics.effect import effect, infer
from lighter.results.statistics.pairing import Pairs
from lighter.results.statistics.scores import Refusal, Scores

Draw = Callable[[np.ndarray], np.ndarray]
TRUTH = 200_000
"""How many pairs tell what the truth is: it is known to 0.3% of a standard deviation."""
SIZES = (3, 4, 5, 6, 7, 8, 9, 10)
DESIGNS = {"paired, alike seeds": 0.5, "paired": 0.0, "unpaired": None}
"""Each with the correlation of the two members of a pair before they are given their distribution."""


class Metric(NamedTuple):
    """The distributions of a metric over the members of both sides, as quantile functions, and its kind."""

    kind: str
    one: Draw
    other: Draw


def normal(mean: float, deviation: float) -> Draw:
    return lambda level: stats.norm.ppf(level, mean, deviation)


def beta(mean: float, count: float) -> Draw:
    return lambda level: stats.beta.ppf(level, mean * count, (1 - mean) * count)


def lognormal(median: float, sigma: float) -> Draw:
    return lambda level: median * np.exp(sigma * stats.norm.ppf(level))


def exponential(mean: float) -> Draw:
    return lambda level: -mean * np.log1p(-level)


METRICS = {
    "normal, no effect": Metric("normal", normal(0, 1), normal(0, 1)),
    "normal, effect 1": Metric("normal", normal(1, 1), normal(0, 1)),
    "normal, spreads 1:3": Metric("normal", normal(1, 1), normal(0, 3)),
    "accuracy near 0.95, no effect": Metric("bounded", beta(0.95, 100), beta(0.95, 100)),
    "accuracy near 0.97 and 0.95": Metric("bounded", beta(0.97, 100), beta(0.95, 100)),
    "accuracy near 0.99 and 0.95": Metric("bounded", beta(0.99, 100), beta(0.95, 100)),
    "accuracy near 0.95, spreads 3:1": Metric("bounded", beta(0.95, 30), beta(0.95, 300)),
    "lognormal loss, no effect": Metric("skewed", lognormal(1, 0.5), lognormal(1, 0.5)),
    "lognormal loss, twice": Metric("skewed", lognormal(2, 0.5), lognormal(1, 0.5)),
    "lognormal loss, spreads 2:1": Metric("skewed", lognormal(1, 0.5), lognormal(1, 0.25)),
    "exponential loss, no effect": Metric("skewed", exponential(1), exponential(1)),
    "exponential loss, 1.5 times": Metric("skewed", exponential(1.5), exponential(1)),
    "exponential loss, 3 times": Metric("skewed", exponential(3), exponential(1)),
    "lognormal loss, sigma 1, no effect": Metric("heavy tails", lognormal(1, 1), lognormal(1, 1)),
    "lognormal loss, sigma 1, 3 times": Metric("heavy tails", lognormal(3, 1), lognormal(1, 1)),
}


def members(
    metric: Metric, correlation: float | None, shape: tuple[int, ...], generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the scores of both sides, of this shape."""
    one, noise = generator.standard_normal((2, *shape))
    strength = correlation or 0.0
    other = strength * one + np.sqrt(1 - strength**2) * noise
    return metric.one(stats.norm.cdf(one)), metric.other(stats.norm.cdf(other))


def typical_difference(metric: Metric, correlation: float | None) -> float:
    """Return the difference that half of all pairs exceed, of which the intervals are."""
    one, other = members(metric, correlation, (TRUTH,), np.random.default_rng(1))
    return float(np.median(one - other))


def coverage(metric: Metric, correlation: float | None, size: int, repetitions: int, truth: float) -> float:
    """Return the share of intervals of so many members that hold the truth; NaN if they are refused."""
    one, other = members(metric, correlation, (repetitions, size), np.random.default_rng(size))
    pairing, held = "none" if correlation is None else "seed", 0
    for first, second in zip(one, other, strict=True):
        inference = infer(Pairs(pairing, first, second))
        if isinstance(inference, Refusal):
            return float("nan")
        held += inference.interval[0] <= truth <= inference.interval[1]
    return held / repetitions


def side(values: np.ndarray, seeds: bool = True, folds: int = 0, samples: np.ndarray | None = None) -> Scores:
    """Return the scores of members with seeds 0, 1, ..., or of as many seeds as the folds leave."""
    count = len(values)
    of_fold = tuple(number % folds for number in range(count)) if folds else (None,) * count
    of_seed = tuple(number // folds if folds else number for number in range(count)) if seeds else (None,) * count
    recorded = () if samples is None else tuple(dict(enumerate(row.tolist())) for row in samples)
    return Scores("side", values, of_seed, of_fold, recorded)


def same_seeds(size: int, metric: str = "normal, no effect", *, paired: bool = True, other: int = 0) -> Iterator[float]:
    """Yield p values of comparisons of a recipe with itself."""
    generator = np.random.default_rng(size)
    while True:
        one, _ = members(METRICS[metric], 0.0, (size,), generator)
        two, _ = members(METRICS[metric], 0.0, (other or size,), generator)
        yield _p_value(side(one, paired), side(two, paired))


def single_runs(count: int) -> Iterator[float]:
    """Yield p values of two runs that are as good as each other, by their samples."""
    generator = np.random.default_rng(count)
    while True:
        samples = -generator.exponential(size=count) + generator.normal(size=(2, count)) / 2
        one, other = (side(row.mean()[None], samples=row[None]) for row in samples)
        yield _p_value(one, other)


def seeds_and_samples(size: int, count: int, *, paired: bool = True) -> Iterator[float]:
    """Yield p values of members that differ by their seed, on samples that differ in how hard they are for a side."""
    generator = np.random.default_rng(size)
    while True:
        hard = generator.exponential(size=(2, 1, count))
        table = hard + generator.normal(size=(2, size, 1)) / 10 + generator.normal(size=(2, size, count))
        one, other = (side(rows.mean(axis=1), paired, samples=rows) for rows in table)
        yield _p_value(one, other)


def cross_validation(folds: int, repeats: int = 1, seeds: int = 1) -> Iterator[float]:
    """Yield p values of two learners that differ by their seed only, on the folds of small data.

    The learner is a linear one on 12 random features of its own, so that its errors on all folds have to do with each
    other. Repeats are folds of other cuts; seeds train on the same folds again.
    """
    from sklearn.model_selection import KFold

    generator, number = np.random.default_rng(folds), 0
    while True:
        labels = generator.integers(2, size=120)
        inputs = generator.normal(size=(120, 6)) + 0.5 * labels[:, None] * np.array([1, 1, 0, 0, 0, 0])
        features = generator.normal(size=(2, seeds, 7, 12))
        cuts = [
            cut
            for repeat in range(repeats)
            for cut in KFold(folds, shuffle=True, random_state=number + repeat).split(inputs)
        ]
        scores = [[_accuracy(inputs, labels, cut, of) for of in one for cut in cuts] for one in features]
        one, other = (side(np.array(each), folds=len(cuts)) for each in scores)
        yield _p_value(one, other, share=1 / (folds - 1))
        number += repeats


def _accuracy(inputs: np.ndarray, labels: np.ndarray, cut: tuple[np.ndarray, np.ndarray], weights: np.ndarray) -> float:
    train, test = cut
    hidden = np.tanh(np.c_[inputs, np.ones(len(inputs))] @ weights)
    gram = hidden[train].T @ hidden[train] + 0.1 * np.eye(hidden.shape[1])
    solution = np.linalg.solve(gram, hidden[train].T @ (2 * labels[train] - 1))
    return float(np.mean((hidden[test] @ solution > 0) == labels[test]))


def _p_value(one: Scores, other: Scores, share: float | None = None) -> float:
    found = effect(one, other, is_maximized=True, share=share).p_value
    return 1.0 if isinstance(found, Refusal) else found  # a refusal calls no difference


COMPARISONS: dict[str, Callable[[], Iterator[float]]] = {
    "3 paired seeds": lambda: same_seeds(3),
    "5 paired seeds": lambda: same_seeds(5),
    "6 paired seeds": lambda: same_seeds(6),
    "10 paired seeds": lambda: same_seeds(10),
    "5 paired seeds, accuracy": lambda: same_seeds(5, "accuracy near 0.95, no effect"),
    "5 paired seeds, exponential loss": lambda: same_seeds(5, "exponential loss, no effect"),
    "3 unpaired seeds": lambda: same_seeds(3, paired=False),
    "5 unpaired seeds": lambda: same_seeds(5, paired=False),
    "10 unpaired seeds": lambda: same_seeds(10, paired=False),
    "5 against 10 unpaired seeds": lambda: same_seeds(5, paired=False, other=10),
    "5 folds": lambda: cross_validation(5),
    "10 folds": lambda: cross_validation(10),
    "5 folds, 4 repeats": lambda: cross_validation(5, repeats=4),
    "5 folds, 3 seeds": lambda: cross_validation(5, seeds=3),
    "1 run, 200 samples": lambda: single_runs(200),
    "3 paired seeds, 100 samples": lambda: seeds_and_samples(3, 100),
    "5 unpaired seeds, 100 samples": lambda: seeds_and_samples(5, 100, paired=False),
}


def called(comparison: str, repetitions: int) -> float:
    """Return the share of comparisons of a recipe with itself that call a difference."""
    values = COMPARISONS[comparison]()
    return sum(next(values) < 0.05 for _ in range(repetitions)) / repetitions


# What was tried, and does not hold: vectorized here, since no comparison uses it.

Bounds = tuple[np.ndarray, np.ndarray]


def percentile_bootstrap(differences: np.ndarray, generator: np.random.Generator) -> Bounds:
    """Percentile bootstrap of the mean, of each row; what a hierarchical bootstrap over seeds alone comes to."""
    means = _bootstrap_means(differences, generator)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    return low, high


def bca_bootstrap(differences: np.ndarray, generator: np.random.Generator) -> Bounds:
    """BCa bootstrap of the mean, of each row."""
    count, mean = differences.shape[1], differences.mean(axis=1, keepdims=True)
    means = _bootstrap_means(differences, generator)
    bias = stats.norm.ppf(np.clip(np.mean(means < mean, axis=1), 1e-3, 1 - 1e-3))
    left_out = (differences.sum(axis=1, keepdims=True) - differences) / (count - 1)
    centered = left_out.mean(axis=1, keepdims=True) - left_out
    acceleration = np.sum(centered**3, axis=1) / (6 * np.sum(centered**2, axis=1) ** 1.5)
    ordered, bounds = np.sort(means, axis=1), []
    for normal_level in stats.norm.ppf([0.025, 0.975]):
        shifted = bias + normal_level
        level = stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))
        position = np.clip(np.rint(level * means.shape[1]).astype(int), 0, means.shape[1] - 1)
        bounds.append(ordered[np.arange(len(ordered)), position])
    return bounds[0], bounds[1]


def student(differences: np.ndarray, generator: np.random.Generator) -> Bounds:
    """Student's t of each row."""
    count, mean = differences.shape[1], differences.mean(axis=1)
    half = stats.t.ppf(0.975, count - 1) * differences.std(axis=1, ddof=1) / np.sqrt(count)
    return mean - half, mean + half


FAILED = {"Student's t": student, "percentile bootstrap": percentile_bootstrap, "BCa bootstrap": bca_bootstrap}


def coverage_of_mean(method: str, metric: Metric, size: int, repetitions: int) -> float:
    """Return the share of intervals of the mean of paired differences that hold it."""
    generator = np.random.default_rng(size)
    one, other = members(metric, 0.0, (TRUTH,), generator)
    truth = float(np.mean(one) - np.mean(other))
    one, other = members(metric, 0.0, (repetitions, size), generator)
    low, high = FAILED[method](one - other, generator)
    return float(np.mean((low <= truth) & (truth <= high)))


def _bootstrap_means(differences: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    rows, count = differences.shape
    drawn = generator.integers(count, size=(rows, 1000, count))
    return np.take_along_axis(differences[:, None, :], drawn, axis=2).mean(axis=2)
