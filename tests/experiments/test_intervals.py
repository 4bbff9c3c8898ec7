"""Means and intervals, against SciPy."""

from __future__ import annotations

import math

import pytest

from lighter.experiments.intervals import Estimate, estimate, t_quantile


def test_quantiles_are_those_of_the_tables() -> None:
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 14: 2.145, 30: 2.042, 120: 1.980}
    assert {degrees: round(t_quantile(degrees), 3) for degrees in table} == table


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_quantiles_are_those_of_scipy(confidence: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    for degrees in [*range(1, 60), 100, 999, 1000]:
        expected = float(stats.t.ppf((1 + confidence) / 2, degrees))
        assert t_quantile(degrees, confidence) == pytest.approx(expected, rel=1e-10)  # scipy 1.15 is no closer


def test_intervals_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = [0.91, 0.93, 0.88, 0.95, 0.9]
    found = estimate(values)
    low, high = stats.t.interval(0.95, 4, loc=found.mean, scale=stats.sem(values))
    assert found.count == 5
    assert found.mean == pytest.approx(sum(values) / 5)
    assert found.half_width == pytest.approx((high - low) / 2)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.5], "0.5"),
        ([0.123456], "0.1235"),
        ([0.91, 0.93, 0.88, 0.95, 0.9], "0.914 ± 0.034"),
        ([1.0, 1.0], "1 ± 0"),
        ([100.0, 150.0], "125 ± 318"),
        ([10.0, 20.0, 12.0], "14 ± 13"),
        ([1e-9, 2e-9, 1.5e-9], "1.5e-09 ± 1.2e-09"),
        ([1.0, math.nan], "nan"),
        ([1.0, math.inf], "inf"),
        ([-math.inf, math.inf], "nan"),
        ([1.5e308, 1.5e308], "inf"),
        ([1e300, 2e300], "1.5e+300"),
    ],
)
def test_how_they_are_shown(values: list[float], shown: str) -> None:
    assert str(estimate(values)) == shown


def test_one_value_has_no_interval() -> None:
    assert estimate([0.5]) == Estimate(0.5, None, 1)
