"""Intervals and tests of a difference: arrays of scores in, an `Inference` out.

Which of them holds for how many values is measured by `benchmarks/comparison_statistics.py`. In `effect.py` is the
choice. Every interval here is the set of differences that the test of the same function does not reject, so that an
interval without 0 and a p value under 0.05 say the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from lighter.results.statistics.scipy_import import scipy_special, scipy_stats

CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2
RESAMPLES = 9999


@dataclass(frozen=True)
class Inference:
    """An interval of a difference and the p value of "there is none", with the names of their methods.

    `fixed_variance` is that part of the variance of the difference which more members do not lower. `estimate` is the
    difference that the interval is of, where that is not the mean.
    """

    interval: tuple[float, float]
    p_value: float
    test: str
    method: str
    fixed_variance: float = 0.0
    estimate: float | None = None


def paired_t(differences: np.ndarray, share: float = 0.0) -> Inference:
    """Student's t of paired differences; with `share` corrected for folds that share training data.

    Args:
        differences: (pairs,), three or more that are not all equal.
        share: the size of the test data divided by that of the training data; 0 without folds.

    Source: Nadeau and Bengio, Inference for the Generalization Error, Machine Learning 52 (2003), section 3: the
    variance of the mean of J differences is (1 / J + share) times theirs. For repeated folds: Bouckaert and Frank,
    Evaluating the Replicability of Significance Tests (2004).
    """
    count = len(differences)
    variance = float(np.var(differences, ddof=1))
    error = float(np.sqrt((1 / count + share) * variance))
    name = "corrected resampled t test (Nadeau and Bengio)" if share else "paired t test"
    method = "corrected resampled t interval" if share else "Student's t interval of paired differences"
    student = _student(float(np.mean(differences)), error, count - 1, name, method)
    return replace(student, fixed_variance=share * variance)


def welch(one: np.ndarray, other: np.ndarray) -> Inference:
    """Welch's t of two independent samples, whose spreads may differ (Biometrika 34, 1947)."""
    squares = [float(np.var(side, ddof=1)) / len(side) for side in (one, other)]
    degrees = _satterthwaite(squares, [len(one) - 1, len(other) - 1])
    difference = float(np.mean(one) - np.mean(other))
    return _student(difference, float(np.sqrt(sum(squares))), degrees, "Welch's t test", "Welch's t interval")


def signed_rank(differences: np.ndarray) -> Inference:
    """Wilcoxon's signed-rank test and its interval: two order statistics of the means of all pairs of differences.

    The test is exact under every flip of signs, also with ties; differences of 0 have ranks but no sign (Pratt 1959).
    For six pairs the interval reaches from the smallest to the greatest difference; fewer reach no 95%.

    Sources: Wilcoxon, Individual Comparisons by Ranking Methods (1945); Hodges and Lehmann, Estimates of Location Based
    on Rank Tests (1963); Hollander and Wolfe, Nonparametric Statistical Methods, 3.1 and 3.3.
    """
    count = len(differences)
    rank = _signed_rank_bound(count)
    first, second = _pairs_of(count)
    walsh = np.sort((differences[first] + differences[second]) / 2)
    interval = (float(walsh[rank - 1]), float(walsh[-rank]))
    p_value, typical = signed_rank_p(differences), float(np.median(walsh))
    return Inference(interval, p_value, "Wilcoxon signed-rank test", "Hodges-Lehmann interval", estimate=typical)


def signed_rank_p(differences: np.ndarray) -> float:
    """Return the exact two-sided p value of the signed-rank test."""
    sizes = np.abs(differences)
    ordered = np.sort(sizes)
    # Twice the ranks, which are integers also where ties share the mean of their ranks.
    doubled = np.searchsorted(ordered, sizes, "left") + np.searchsorted(ordered, sizes, "right") + 1
    distribution = _flip_distribution(tuple(np.sort(doubled[differences != 0]).tolist()))
    observed = int(np.sum(doubled[differences > 0]))
    return min(1.0, 2 * float(min(np.sum(distribution[: observed + 1]), np.sum(distribution[observed:]))))


def sign_flips(differences: np.ndarray, seed: int = 0) -> float:
    """Return the p value of the paired permutation test of the mean, exact up to 13 pairs.

    Source: Pitman, Significance Tests Which May Be Applied to Samples from any Populations (1937).
    """
    found = scipy_stats().permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        random_state=seed,
    )
    return float(found.pvalue)


def exchanges(one: np.ndarray, other: np.ndarray, seed: int = 0) -> float:
    """Return the p value of the permutation test of the difference of two independent means."""

    def difference(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(np.mean(first, axis=axis) - np.mean(second, axis=axis))

    found = scipy_stats().permutation_test(
        (one, other),
        difference,
        permutation_type="independent",
        vectorized=True,
        n_resamples=RESAMPLES,
        random_state=seed,
    )
    return float(found.pvalue)


def bca(differences: np.ndarray, seed: int = 0) -> Inference:
    """BCa bootstrap of the mean over many samples of a data set, with the t test of their mean.

    Source: Efron, Better Bootstrap Confidence Intervals (1987). Of 3 to 10 values it covers 65 to 91%, so it is for
    the samples of a data set only.
    """
    stats = scipy_stats()
    batch = max(1, 2_000_000 // len(differences))  # 16 MB at a time
    found = stats.bootstrap(
        (differences,), np.mean, n_resamples=1999, batch=batch, method="BCa", vectorized=True, random_state=seed
    )
    low, high = (float(bound) for bound in found.confidence_interval)
    p_value = float(stats.ttest_1samp(differences, 0).pvalue)
    return Inference((low, high), p_value, "t test over samples", "BCa bootstrap over samples")


def crossed(one: np.ndarray, other: np.ndarray, *, is_paired: bool) -> Inference:
    """Interval over members and samples at once: it is to hold for new members on new samples of the same kind.

    Args:
        one: (members, samples) the scores of one side; the samples are the same in all.
        other: (members, samples) those of the other side.
        is_paired: True if the members are paired, in this order.

    The variance of the mean is that over members plus that over samples, less the residual that both have in them
    (Cornfield and Tukey, Average Values of Mean Squares in Factorials, 1956). The squares of the half widths of both
    are added (Howe, Approximate Confidence Limits on the Mean of X + Y, 1974): with Satterthwaite's degrees of freedom
    up to 8% of comparisons of 3 pairs call a difference where there is none. A hierarchical bootstrap (Saravanan,
    Berman and Sober 2020) covers too little for few members, since it resamples them.
    """
    tables = [one - other] if is_paired else [one, other]
    columns = one.mean(axis=0) - other.mean(axis=0)
    parts = [float(np.var(table.mean(axis=1), ddof=1)) / len(table) for table in tables]
    degrees = _satterthwaite(parts, [len(table) - 1 for table in tables]) if sum(parts) else 1.0
    of_samples = float(np.var(columns, ddof=1)) / len(columns) - sum(_residual_variance(table) for table in tables)
    variances = (sum(parts), max(of_samples, 0.0))
    mean, half = float(np.mean(columns)), _joint_half_width(TAIL, variances, (degrees, len(columns) - 1))
    return Inference(
        (mean - half, mean + half),
        _joint_p(abs(mean), variances, (degrees, len(columns) - 1)),
        "t test over members and samples",
        "t interval over members and samples",
        fixed_variance=variances[1],
        estimate=mean,
    )


def _joint_half_width(tail: float, variances: tuple[float, float], degrees: tuple[float, float]) -> float:
    special = scipy_special()
    squares = (float(special.stdtrit(each, tail)) ** 2 for each in degrees)
    return math.sqrt(sum(square * variance for square, variance in zip(squares, variances, strict=True)))


def _joint_p(distance: float, variances: tuple[float, float], degrees: tuple[float, float]) -> float:
    """Return the p value with which the interval just reaches 0, by bisection."""
    low, high = 0.0, 0.5
    while low < (tail := (low + high) / 2) < high and high - low > 1e-9 * high:
        low, high = (tail, high) if _joint_half_width(tail, variances, degrees) > distance else (low, tail)
    return 2 * high


def _residual_variance(table: np.ndarray) -> float:
    """Return the variance of the table's mean that is neither of its rows nor of its columns."""
    rows, columns = table.shape
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + table.mean()
    return float(np.sum(rest**2) / ((rows - 1) * (columns - 1)) / (rows * columns))


def _satterthwaite(parts: list[float], degrees: list[int]) -> float:
    """Return the degrees of freedom of a sum of variances (Satterthwaite, Biometrics Bulletin 2, 1946)."""
    weights = (part**2 / each for part, each in zip(parts, degrees, strict=True))
    return float(sum(parts) ** 2 / math.fsum(weights))


def _student(mean: float, error: float, degrees: float, test: str, method: str) -> Inference:
    special = scipy_special()
    half = float(special.stdtrit(degrees, 1 - TAIL)) * error
    p_value = 2 * float(special.stdtr(degrees, -abs(mean) / error))
    return Inference((mean - half, mean + half), p_value, test, method)


@lru_cache(maxsize=256)
def _signed_rank_bound(count: int) -> int:
    """Return how many of the sorted means of pairs are left out at each end of the interval, plus one."""
    tail = np.cumsum(_flip_distribution(tuple(range(1, count + 1))))
    return int(np.sum(tail <= TAIL))


@lru_cache(maxsize=256)
def _pairs_of(count: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.triu_indices(count)
    return first, second


@lru_cache(maxsize=256)
def _flip_distribution(ranks: tuple[int, ...]) -> np.ndarray:
    """Return the probability of each sum of the ranks whose sign is plus, if all signs are as likely."""
    distribution = np.ones(1)
    for rank in ranks:
        longer = np.zeros(len(distribution) + rank)
        longer[: len(distribution)] += distribution / 2
        longer[rank:] += distribution / 2
        distribution = longer
    return distribution
