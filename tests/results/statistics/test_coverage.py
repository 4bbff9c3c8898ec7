"""Intervals hold as often as they say, in short; at length: `python benchmarks/comparison_statistics.py`."""

from __future__ import annotations

import math

import pytest

from tests.results.statistics.simulations import (
    COMPARISONS,
    DESIGNS,
    METRICS,
    called,
    coverage,
    coverage_of_mean,
    typical_difference,
)

REPETITIONS = 1000
SHORT = [
    "normal, effect 1",
    "normal, spreads 1:3",
    "accuracy near 0.99 and 0.95",
    "accuracy near 0.95, spreads 3:1",
    "lognormal loss, twice",
    "exponential loss, no effect",
    "exponential loss, 3 times",
]

LONG = ("10 folds", "5 folds, 3 seeds", "10 unpaired seeds")  # only in the benchmark


def error(share: float) -> float:
    """Return four standard errors of a share that was counted."""
    return 4 * math.sqrt(share * (1 - share) / REPETITIONS)


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("name", SHORT)
def test_intervals_hold_as_often_as_they_say(name: str, design: str) -> None:
    metric, correlation = METRICS[name], DESIGNS[design]
    truth = typical_difference(metric, correlation)
    found = {size: coverage(metric, correlation, size, REPETITIONS, truth) for size in (3, 5, 6, 10)}
    assert all(0.93 - error(0.93) <= each <= 0.97 + error(0.97) for each in found.values()), found


@pytest.mark.parametrize("size", [1, 2])
def test_fewer_than_three_are_refused(size: int) -> None:
    assert math.isnan(coverage(METRICS["normal, effect 1"], 0.0, size, 10, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("comparison", [name for name in COMPARISONS if name not in LONG])
def test_a_recipe_is_seldom_called_better_than_itself(comparison: str) -> None:
    assert called(comparison, REPETITIONS) <= 0.05 + error(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["percentile bootstrap", "BCa bootstrap"])
def test_the_bootstrap_of_a_few_members_covers_too_little(method: str) -> None:
    """The reason that it is not used for them; if this fails, the choice is to be made again."""
    assert coverage_of_mean(method, METRICS["normal, no effect"], 5, REPETITIONS) < 0.9
