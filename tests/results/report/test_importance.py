"""The importance of a parameter."""

from __future__ import annotations

import numpy as np
import pytest

from lighter.results.report.importance import importance, ranks


def test_a_valley_is_seen_as_well_as_a_slope() -> None:
    values = [10.0**power for power in range(-10, 10)]
    slope, valley = list(range(20)), [abs(index - 9) for index in range(20)]
    assert (importance(values, slope) or 0) > 0.99
    assert (importance(values, valley) or 0) > 0.9


def test_noise_comes_to_about_nothing() -> None:
    random = np.random.default_rng(0)
    found = [importance(random.random(12).tolist(), random.random(12).tolist()) or 0 for _ in range(200)]
    assert np.mean(found) < 0.12


def test_categories_explain_what_they_tell_apart() -> None:
    objective = [0.1, 0.9] * 6
    assert importance(["a", "b"] * 6, objective) == pytest.approx(1.0)
    assert (importance(["a", "a", "b", "b"] * 3, objective) or 0) < 0.1


@pytest.mark.parametrize(
    ("values", "objective"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([1] * 10, list(range(10))),
        (list(range(10)), [0.5] * 10),
        (list("abcdefgh"), list(range(8))),
    ],
    ids=["few trials", "one value", "one outcome", "a category for each trial"],
)
def test_what_cannot_be_told_is_none(values: list[object], objective: list[float]) -> None:
    assert importance(values, objective) is None


def test_equal_numbers_share_the_mean_of_their_ranks() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == pytest.approx([2.5 / 3, 0, 2.5 / 3, 1 / 3])
