"""The comparison of two sides."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest

from lighter.errors import LighterError
from lighter.results.statistics import effect as module
from lighter.results.statistics import scipy_import
from lighter.results.statistics.effect import Effect, Refusal, Scores, effect

GENERATOR = np.random.default_rng(0)


def side(
    values: Sequence[float] | np.ndarray,
    seeds: Sequence[int | None] | None = None,
    folds: Sequence[int | None] | None = None,
    samples: np.ndarray | None = None,
) -> Scores:
    recorded = () if samples is None else tuple(dict(enumerate(row.tolist())) for row in samples)
    count = len(values)
    return Scores("side", np.asarray(values), tuple(seeds or range(count)), tuple(folds or [None] * count), recorded)


def compare(one: Scores, other: Scores, **options: object) -> Effect:
    return effect(one, other, is_maximized=True, **options)  # type: ignore[arg-type]


def interval(found: Effect) -> tuple[float, float]:
    assert not isinstance(found.interval, Refusal), found.interval
    return found.interval


def reason(found: Effect) -> str:
    assert isinstance(found.interval, Refusal)
    assert found.p_value == found.interval
    assert found.test == found.method == "none"
    return found.interval.reason


ONE, OTHER = [0.95, 0.94, 0.96, 0.93, 0.95, 0.97, 0.92], [0.92, 0.93, 0.92, 0.91, 0.94, 0.93, 0.90]


def test_members_with_the_same_seeds_are_paired_in_any_order() -> None:
    found = compare(side([1.0, 2.0, 4.0]), side([3.5, 1.0, 0.5], [2, 1, 0]))
    assert (found.pairing, found.pairs, found.sampled) == ("seed", 3, ("seeds",))
    assert found.difference == pytest.approx(np.mean([0.5, 1.0, 0.5]))


def test_seeds_that_only_one_side_has_are_left_out() -> None:
    found = compare(side(ONE[:5]), side(OTHER[:4]))
    assert (found.pairing, found.pairs) == ("seed", 4)
    assert found.difference == pytest.approx(np.mean(np.subtract(ONE[:4], OTHER[:4])))


def test_a_few_common_seeds_of_many_are_not_worth_a_pairing() -> None:
    found = compare(side(ONE, range(7)), side(OTHER, range(4, 11)))
    assert (found.pairing, found.pairs, found.method) == ("none", 7, "Welch's t interval")


def test_runs_of_one_seed_count_once() -> None:
    found = compare(side([1.0, 3.0, 2.0, 4.5], [0, 0, 1, 2]), side([1.0, 1.5, 2.0]))
    assert found.pairs == 3
    assert found.difference == pytest.approx(np.mean([1.0, 0.5, 2.5]))


@pytest.mark.parametrize(
    ("count", "method", "test"),
    [
        (3, "Student's t interval of paired differences", "paired t test"),
        (5, "Student's t interval of paired differences", "paired t test"),
        (6, "Hodges-Lehmann interval", "Wilcoxon signed-rank test"),
        (7, "Hodges-Lehmann interval", "Wilcoxon signed-rank test"),
    ],
)
def test_the_number_of_pairs_decides_the_method(count: int, method: str, test: str) -> None:
    found = compare(side(ONE[:count]), side(OTHER[:count]))
    assert (found.method, found.test) == (method, test)


def test_six_pairs_reach_from_the_smallest_to_the_greatest_difference() -> None:
    differences = np.subtract(ONE[:6], OTHER[:6])
    assert interval(compare(side(ONE[:6]), side(OTHER[:6]))) == pytest.approx((differences.min(), differences.max()))


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7, 10, 20])
@pytest.mark.parametrize("paired", [True, False])
def test_an_interval_leaves_out_0_exactly_where_the_test_calls_a_difference(count: int, paired: bool) -> None:
    generator = np.random.default_rng(count)
    decided = set()
    for _ in range(60):
        one, other = generator.normal(0.8, 1, count), generator.normal(0, 1, count)
        found = compare(side(one), side(other, None if paired else range(100, 100 + count)))
        low, high = interval(found)
        assert (found.p_value < 0.05) == (low > 0 or high < 0)
        assert (found.more_members_needed is None) == (found.p_value < 0.05)
        decided.add(found.p_value < 0.05)
    assert decided == {True, False}


def test_exchanged_sides_say_the_opposite() -> None:
    one, other = side(ONE), side(OTHER)
    there, back = compare(one, other), compare(other, one)
    assert there.difference == -back.difference
    assert interval(there) == pytest.approx(tuple(-bound for bound in interval(back)[::-1]))
    assert there.p_value == back.p_value
    assert there.probability_better == pytest.approx(1 - float(back.probability_better))  # type: ignore[arg-type]


def test_a_loss_is_better_if_it_is_smaller() -> None:
    one, other = side([1.0, 2.0, 3.0]), side([4.0, 6.0, 2.5])
    assert effect(one, other, is_maximized=False).probability_better == pytest.approx(8 / 9)
    assert effect(one, other, is_maximized=True).probability_better == pytest.approx(1 / 9)


def test_ties_are_half_won() -> None:
    assert compare(side([1.0, 1.0, 2.0]), side([1.0, 0.0, 3.0])).probability_better == pytest.approx(5 / 9)


# Refusals


def test_two_seeds_have_no_interval() -> None:
    found = compare(side([1.0, 2.0]), side([1.5, 3.0]))
    assert reason(found) == "2 members of a side cannot carry an interval; 3 seeds or more can."
    assert isinstance(found.probability_better, Refusal)
    assert isinstance(found.more_members_needed, Refusal)
    assert found.difference == pytest.approx(-0.75)


def test_one_run_against_one_has_none_without_samples() -> None:
    assert reason(compare(side([1.0]), side([2.0]))).startswith("1 member of a side cannot")


def test_sides_of_unlike_size_have_none_if_one_is_small() -> None:
    found = compare(side(ONE[:3]), side(OTHER, range(10, 17)))
    assert "3 against 7 members without common seeds" in reason(found)
    assert not isinstance(found.probability_better, Refusal)
    assert interval(compare(side(ONE[:5]), side(OTHER, range(10, 17))))


def test_scores_that_are_not_finite_are_refused() -> None:
    found = compare(side([1.0, np.nan, 2.0]), side([1.0, 2.0, 3.0]))
    assert "no finite score" in reason(found)
    assert isinstance(found.probability_better, Refusal)


def test_a_side_that_is_infinite_or_empty_is_refused_without_a_warning() -> None:
    found = compare(side([1.0, np.inf, 2.0]), side([1.0, np.inf, 3.0]))
    assert "no finite score" in reason(found)
    assert np.isnan(found.difference)
    assert reason(compare(side([]), side([1.0, 2.0, 3.0]))).startswith("0 members of a side")


@pytest.mark.parametrize("count", [3, 7])
def test_differences_without_spread_are_refused(count: int) -> None:
    assert "are equal" in reason(compare(side(ONE[:count]), side(np.array(ONE[:count]) - 0.01)))
    assert "same runs" in reason(compare(side(ONE[:count]), side(ONE[:count])))
    constant = compare(side([0.5] * count), side([0.6] * count, range(10, 10 + count)))
    assert "the seeds change nothing" in reason(constant)


def test_folds_that_are_not_the_same_are_refused() -> None:
    one, other = side([1.0, 2.0, 3.0], [0, 0, 0], [0, 1, 2]), side([1.0, 2.0, 3.0], [0, 0, 0], [2, 3, 4])
    assert "1 fold in common" in reason(compare(one, other))
    assert "0 folds in common" in reason(compare(one, side([1.0, 2.0, 3.0])))


# Folds


def test_folds_are_corrected_for_the_data_that_they_share() -> None:
    folds, seeds = list(range(5)), [0] * 5
    found = compare(side(ONE[:5], seeds, folds), side(OTHER[:5], seeds, folds))
    differences = np.subtract(ONE[:5], OTHER[:5])
    half = 2.7764451 * np.sqrt((1 / 5 + 1 / 4) * differences.var(ddof=1))
    assert (found.pairing, found.pairs, found.sampled) == ("fold", 5, ("folds",))
    assert interval(found) == pytest.approx((differences.mean() - half, differences.mean() + half))
    assert found.test == "corrected resampled t test (Nadeau and Bengio)"


def test_seeds_within_a_fold_are_averaged() -> None:
    folds, seeds = [0, 0, 1, 1, 2, 2], [0, 1] * 3
    found = compare(side(ONE[:6], seeds, folds), side(OTHER[:6], seeds, folds))
    averaged = compare(
        side(np.reshape(ONE[:6], (3, 2)).mean(axis=1), [0] * 3, [0, 1, 2]),
        side(np.reshape(OTHER[:6], (3, 2)).mean(axis=1), [0] * 3, [0, 1, 2]),
    )
    assert (found.pairing, found.sampled) == ("seed and fold", ("folds", "seeds"))
    assert interval(found) == pytest.approx(interval(averaged))


def test_repeated_folds_take_their_share_from_the_caller() -> None:
    folds, seeds = list(range(6)), [0] * 6
    sides = side(ONE[:6], seeds, folds), side(OTHER[:6], seeds, folds)
    (low, high), (wide_low, wide_high) = interval(compare(*sides)), interval(compare(*sides, share=1 / 2))
    assert wide_low < low
    assert wide_high > high


# Samples


def test_one_run_against_one_is_compared_by_samples() -> None:
    table = GENERATOR.normal(size=(2, 500)) + np.array([[0.3], [0.0]])
    one, other = (side([0.9], samples=row[None]) for row in table)
    found = compare(one, other)
    assert (found.pairing, found.pairs, found.sampled) == ("sample", 500, ("samples",))
    low, high = interval(found)
    assert low < found.difference < high
    assert isinstance(found.probability_better, Refusal)
    assert "other seeds" in found.probability_better.reason
    assert effect(one, other, is_maximized=False).difference == -found.difference


def test_few_samples_are_not_enough() -> None:
    one, other = (side([0.9], samples=row[None]) for row in GENERATOR.normal(size=(2, 20)))
    assert reason(compare(one, other)).startswith("1 member")


def test_samples_widen_the_interval_if_their_mean_is_the_metric() -> None:
    table = GENERATOR.normal(size=(2, 5, 200))
    alone = [side(rows.mean(axis=1)) for rows in table]
    with_samples = [side(rows.mean(axis=1), samples=rows) for rows in table]
    found = compare(*with_samples)
    assert found.sampled == ("seeds", "samples")
    assert interval(found) != interval(compare(*alone))
    of_another_metric = [side(rows.mean(axis=1) + 1, samples=rows) for rows in table]
    assert compare(*of_another_metric).sampled == ("seeds",)


def test_samples_of_paired_members_follow_their_seeds() -> None:
    table = GENERATOR.normal(size=(2, 4, 100))
    one = side(table[0].mean(axis=1), samples=table[0])
    other = side(table[1].mean(axis=1), samples=table[1])
    turned = side(table[1, ::-1].mean(axis=1), [3, 2, 1, 0], samples=table[1, ::-1])
    assert interval(compare(one, other)) == pytest.approx(interval(compare(one, turned)))


# Further members, other tests, speed


def test_further_members_are_those_of_the_power() -> None:
    found = compare(side([1.0, 1.4, 0.9]), side([0.9, 0.8, 1.1]))
    assert isinstance(found.more_members_needed, int)
    assert found.more_members_needed >= 3  # six pairs at least, for the rank test


def test_a_tiny_difference_needs_more_members_than_anybody_trains() -> None:
    found = compare(side([1.0, 2.0, 3.0]), side([2.0, 3.0, 1.0001]))
    assert isinstance(found.more_members_needed, Refusal)
    assert "More than 1,000 members" in found.more_members_needed.reason


def test_more_folds_of_the_same_data_do_not_decide() -> None:
    folds, seeds = list(range(5)), [0] * 5
    found = compare(side([0.9, 0.8, 0.95, 0.85, 0.9], seeds, folds), side([0.85, 0.85, 0.85, 0.9, 0.9], seeds, folds))
    assert isinstance(found.more_members_needed, Refusal)
    assert "share that data" in found.more_members_needed.reason


def test_the_permutation_test_on_request() -> None:
    found = compare(side(ONE), side(OTHER), test="permutation")
    assert found.test == "paired permutation test"
    assert found.p_value == pytest.approx(2 / 2**7)
    unpaired = compare(side(ONE), side(OTHER, range(10, 17)), test="permutation")
    assert unpaired.test == "permutation test"
    assert 0 < float(unpaired.p_value) < 0.05  # type: ignore[arg-type]


def test_ten_seeds_of_five_folds_with_samples_are_fast() -> None:
    folds, seeds = [number % 5 for number in range(50)], [number // 5 for number in range(50)]
    table = GENERATOR.normal(size=(2, 50, 2000))
    one, other = (side(rows.mean(axis=1), seeds, folds, rows) for rows in table)
    compare(one, other)  # imports SciPy
    began = time.process_time()
    compare(one, other)
    assert time.process_time() - began < 0.3


def test_without_scipy_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(scipy_import, "import_module", missing)
    with pytest.raises(LighterError, match=r"lighter\[results\]"):
        compare(side(ONE[:3]), side(OTHER[:3]))


def test_the_names_of_the_contract_are_here() -> None:
    assert set(module.__all__) >= {"Effect", "Refusal", "Scores", "effect", "holm"}
