"""Several sides tested against each other: equal ones are called different in one of twenty comparisons."""

from __future__ import annotations

import numpy as np
import pytest

from lighter.results.statistics.scores import Scores
from lighter.results.testing import Method

REPETITIONS = 100


def sides(generator: np.random.Generator, count: int, members: int, *, are_paired: bool) -> list[Scores]:
    of_seed = generator.normal(size=members) * are_paired
    return [
        Scores(f"side {at}", 0.8 + 0.01 * (of_seed + generator.normal(size=members)),
               tuple(range(members)) if are_paired else tuple(range(at * 100, at * 100 + members)), (None,) * members)
        for at in range(count)
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("count", "with_all"), [(2, True), (4, True), (4, False)])
@pytest.mark.parametrize("are_paired", [True, False], ids=["paired", "not paired"])
def test_equal_sides_are_called_different_in_one_of_twenty(count: int, with_all: bool, are_paired: bool) -> None:
    generator, called = np.random.default_rng(1), 0
    for _ in range(REPETITIONS):
        scored = sides(generator, count, 5, are_paired=are_paired)
        # with all, the reference is the best of them, as it is where nobody named one before
        best = max(range(count), key=lambda at: scored[at].values.mean()) if with_all else 0
        tested = Method(is_maximized=True).tested(scored, best, with_all=with_all)
        called += any(each.is_decided for each in tested.against.values())
    assert called <= REPETITIONS * 0.05 + 3 * np.sqrt(REPETITIONS * 0.05 * 0.95)


@pytest.mark.slow
def test_the_best_of_several_needs_all_pairs() -> None:
    """Against the best of eight equal sides, a correction for seven comparisons would call too many differences."""
    generator, called = np.random.default_rng(2), {True: 0, False: 0}
    for _ in range(60):
        scored = sides(generator, 8, 5, are_paired=False)
        best = max(range(8), key=lambda at: scored[at].values.mean())
        for with_all in called:
            tested = Method(is_maximized=True).tested(scored, best, with_all=with_all)
            called[with_all] += any(each.is_decided for each in tested.against.values())
    assert called[True] <= 60 * 0.05
    assert called[False] > 60 * 0.05
