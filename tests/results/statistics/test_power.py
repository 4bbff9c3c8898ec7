"""How many members decide a comparison, against the power of simulated t tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lighter.results.statistics.power import members_needed


@pytest.mark.parametrize(("difference", "needed"), [(0.5, 34), (0.8, 15), (1.0, 10), (2.0, 5)])
def test_paired_members_are_those_of_the_tables(difference: float, needed: int) -> None:
    assert members_needed(difference, 1.0, sides=1) == needed
    assert members_needed(-10 * difference, 100.0, sides=1) == needed


@pytest.mark.parametrize(("difference", "needed"), [(0.5, 64), (0.8, 26), (1.2, 12)])
def test_unpaired_members_are_those_of_cohens_tables(difference: float, needed: int) -> None:
    assert members_needed(difference, 1.0, sides=2) == needed


def test_so_many_members_find_it_in_80_percent() -> None:
    needed = members_needed(0.9, 1.0, sides=1)
    assert needed is not None
    drawn = np.random.default_rng(0).normal(0.9, 1, size=(4000, needed))
    assert np.mean(stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.04)


def test_what_more_members_do_not_lower_may_be_too_much() -> None:
    assert members_needed(0.5, 1.0, sides=1, fixed=0.01) == 49
    assert members_needed(0.5, 1.0, sides=1, fixed=0.1) is None
    assert members_needed(0.001, 1.0, sides=1) is None
