"""Schedules, on synthetic learning curves: how many trials reach each rung, which, and what that costs."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from lighter.experiments.schedule import Asha, Hyperband, Median, Schedule
from lighter.experiments.trials import FAILED, FINISHED, PAUSED, RUNNING, Member, Objective, Trial, best_first
from tests.experiments.simulation import Simulation

LOSS, ACCURACY = Objective("val/loss/epoch"), Objective("val/acc/epoch", is_maximized=True)
BY, RUNGS, LIMIT = "trainer::max_epochs", (1.0, 3.0, 9.0), 27.0
KINDS = {kind.__name__: kind(LOSS, BY, RUNGS) for kind in (Schedule, Asha, Hyperband, Median)}
QUALITY = list(range(200))
random.Random(1).shuffle(QUALITY)


def parallel(number: int, epochs: float) -> float:
    """Curves that never cross: which trial is best is the same at every rung."""
    return QUALITY[number] + 100 / epochs


def crossing(number: int, epochs: float) -> float:
    return QUALITY[number] + random.Random(f"{number} {epochs}").uniform(0, 200) / epochs


def failing(number: int, epochs: float) -> float | None:
    return None if number % 5 == 2 else math.nan if number % 7 == 3 and epochs > 1 else crossing(number, epochs)


def kept_by_synchronous_halving(count: int, rungs: int) -> list[set[int]]:
    """The trials at each rung if all of a rung are awaited before the best third of them goes on."""
    best = sorted(range(count), key=lambda number: QUALITY[number])
    sizes = [count // 3**rung for rung in range(rungs)]
    return [set(best[:size]) for size in sizes]


@pytest.mark.parametrize("count", [27, 30, 60])
@pytest.mark.parametrize(("workers", "seed"), [(1, 0), (4, 0), (4, 1), (4, 2), (16, 3)])
def test_asha_keeps_what_synchronous_halving_keeps_where_curves_do_not_cross(
    count: int, workers: int, seed: int
) -> None:
    done = Simulation(KINDS["Asha"], parallel, count, LIMIT, workers, seed).run()
    for rung, kept in enumerate(kept_by_synchronous_halving(count, rungs=4)):
        # Promoted besides are those that were among the best when only a few had come so far.
        assert kept <= done.numbers(rung)
        assert len(kept) <= done.at_rungs[rung] <= 2 * len(kept) + 2
    assert done.at_rungs[0] == count


@pytest.mark.parametrize(("count", "expected"), [(27, [27, 9, 3, 1]), (30, [30, 10, 3, 1]), (60, [60, 20, 6, 2])])
def test_asha_promotes_a_third_of_each_rung(count: int, expected: list[int]) -> None:
    # no later one is better than an earlier one, so that none is promoted too early
    assert Simulation(KINDS["Asha"], lambda number, _: float(number), count, LIMIT).run().at_rungs == expected


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("curve", [parallel, crossing])
def test_asha_trains_a_fraction_of_the_epochs(curve: object, workers: int) -> None:
    done = Simulation(KINDS["Asha"], curve, 60, LIMIT, workers).run()  # type: ignore[arg-type]
    full = Simulation(KINDS["Schedule"], curve, 60, LIMIT, workers).run()  # type: ignore[arg-type]
    assert full.epochs == 60 * 27
    # 60 x 1 + 20 x 2 + 6 x 6 + 2 x 18 if all promotions were right
    assert 172 <= done.epochs <= 0.2 * full.epochs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("curve", [parallel, crossing, failing])
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_order_of_the_trials_does_not_matter(kind: str, curve: object, seeds: int) -> None:
    one, other = (
        Simulation(KINDS[kind], curve, 40, LIMIT, seeds=seeds, shuffle=shuffle).run()  # type: ignore[arg-type]
        for shuffle in (False, True)
    )
    assert one.decisions == other.decisions
    assert repr(one.trials) == repr(other.trials)  # with NaN, which equals nothing


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(10))
def test_something_comes_to_its_end_and_nothing_is_promoted_twice(kind: str, seed: int) -> None:
    # the simulation asserts that a trial that runs, has failed or is over is never promoted
    count, workers = random.Random(seed).randint(1, 50), 1 + seed
    done = Simulation(KINDS[kind], failing, count, LIMIT, workers, seed).run()
    assert len(done.trials) == count
    assert len(set(done.decisions)) == len(done.decisions)
    ended = [trial for trial in done.trials if trial.reached == done.schedule.last]
    assert ended or all(trial.has_failed for trial in done.trials)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_of_few_trials_the_best_comes_to_its_end(count: int) -> None:
    done = Simulation(KINDS["Asha"], parallel, count, LIMIT, workers=3).run()
    best = min(range(count), key=lambda number: QUALITY[number])
    assert best in done.numbers(3)


def test_the_best_is_not_taken_for_the_best_while_others_are_to_come() -> None:
    trials = [at(0, {0: 1.0}), at(1, {0: 2.0})]
    assert KINDS["Asha"].promotion(trials) is None
    assert KINDS["Asha"].promotion(trials, total=3) is None
    assert KINDS["Asha"].promotion(trials, total=2) == (0, 1)
    trials[1].members[0].results.clear()
    assert KINDS["Asha"].promotion(trials, total=2) is None


def at(number: int, results: dict[int, float], target: int = 0, status: str = PAUSED) -> Trial:
    member = Member(number, 1, None, {}, target, {rung: (value,) for rung, value in results.items()}, status)
    return Trial(number, {}, [member])


def test_asha_promotes_at_the_highest_rung_first_and_to_the_better_end() -> None:
    first = [at(number, {0: float(number)}) for number in range(3)]
    second = [at(3 + number, {0: -1.0, 1: 5.0 - number}, target=1) for number in range(3)]
    assert KINDS["Asha"].promotion([*first, *second]) == (5, 2)
    assert KINDS["Asha"].promotion(first) == (0, 1)
    assert Asha(ACCURACY, BY, RUNGS).promotion(first) == (2, 1)
    assert Asha(LOSS, BY, RUNGS, reduction=4).promotion(first) is None
    assert Asha(LOSS, BY, RUNGS, reduction=2).promotion(first[:2]) == (0, 1)


def test_failed_and_nan_count_as_the_worst() -> None:
    bad = [at(0, {0: math.nan}), at(1, {}, status=FAILED)]
    assert KINDS["Asha"].promotion([*bad, at(2, {0: 9.0})]) == (2, 1)
    assert KINDS["Asha"].promotion([*bad, at(2, {0: math.nan})], total=3) is None
    # one that was promoted and then failed makes way for the next
    failed = at(3, {0: 1.0}, target=1, status=FAILED)
    assert KINDS["Asha"].promotion([failed, at(4, {0: 2.0}), at(5, {0: 3.0})]) == (4, 1)


def test_a_trial_has_completed_a_rung_when_all_its_members_have() -> None:
    trials = [at(0, {0: 1.0}), at(1, {0: 2.0}), at(2, {0: 3.0})]
    trials[0].members.append(Member(0, 2, None, {}, status=RUNNING))
    assert KINDS["Asha"].promotion(trials) is None
    trials[0].members[1].results[0] = (9.0,)
    assert KINDS["Asha"].promotion(trials) == (1, 1)


def test_a_fit_that_ended_early_is_not_at_rungs_to_which_it_was_not_promoted() -> None:
    early = [at(number, {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0}, status=FINISHED) for number in range(3)]
    assert KINDS["Asha"].promotion(early) == (0, 1)
    early[0].members[0].target = 1
    assert KINDS["Asha"].promotion(early) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("curve", [parallel, crossing, failing])
def test_a_seed_that_is_added_later_promotes_nothing(kind: str, curve: object) -> None:
    done = Simulation(KINDS[kind], curve, 40, LIMIT, workers=4).run()  # type: ignore[arg-type]
    assert KINDS[kind].promotion(done.trials, 40) is None
    for is_done in (False, True):
        for trial in done.trials:
            (first, *_), target = trial.members, trial.target
            # it trains to where its trial is, without a pause before
            results = {target: first.results[target]} if is_done and target in first.results else {}
            trial.members[1:] = [
                Member(trial.number, 2, None, {}, target, results, first.status if is_done else RUNNING)
            ]
        assert KINDS[kind].promotion(done.trials, 40) is None


def test_hyperband_begins_in_brackets_of_its_proportions() -> None:
    schedule = KINDS["Hyperband"]
    assert Counter(map(schedule.first_rung, range(49))) == {0: 27, 1: 12, 2: 6, 3: 4}
    assert {schedule.first_rung(number) for number in range(10)} == {0, 1, 2, 3}
    for count in (27, 60):
        done = Simulation(schedule, crossing, count, LIMIT, workers=4).run()
        assert done.epochs < 0.5 * count * LIMIT
        # a trial competes within its own bracket
        assert len(done.numbers(3)) > sum(schedule.first_rung(number) == 3 for number in range(count))


@pytest.mark.parametrize("count", [3, 6, 10, 27])
def test_the_best_of_each_bracket_trains_to_its_end(count: int) -> None:
    """A trial of the last bracket is at the end at once, whatever it is worth, and would be the best of all."""
    schedule = KINDS["Hyperband"]
    done = Simulation(schedule, parallel, count, LIMIT).run()
    brackets = [[each for each in range(count) if schedule.first_rung(each) == bracket] for bracket in range(4)]
    for bracket in filter(None, brackets):
        assert done.numbers(3) & {*bracket}
    best = min(range(count), key=lambda number: QUALITY[number])
    assert best_first(done.trials, LOSS, schedule.last)[0].number == best


def test_hyperband_on_many_rungs_is_quick() -> None:
    schedule = Hyperband(LOSS, BY, tuple(map(float, range(1, 200))), reduction=2)
    assert schedule.first_rung(10**6) < 200


def test_median_stops_those_that_are_worse_than_the_median_of_the_others() -> None:
    schedule = Median(LOSS, BY, RUNGS, min_trials=2)
    assert schedule.promotion([at(0, {0: 9.0}), at(1, {0: 1.0}, target=1)]) == (0, 1)  # not judged yet
    others = [at(number, {0: float(number)}, target=1, status=RUNNING) for number in (1, 2, 3)]
    for value, goes_on in ((1.9, True), (2.0, True), (2.1, False), (math.nan, False)):
        assert schedule.promotion([*others, at(0, {0: value})]) == ((0, 1) if goes_on else None)
    done = Simulation(KINDS["Median"], crossing, 60, LIMIT, workers=4).run()
    assert 0.2 < done.epochs / (60 * LIMIT) < 0.7
    assert min(range(60), key=lambda number: QUALITY[number]) in done.numbers(3)


def test_none_trains_every_trial_to_its_end() -> None:
    done = Simulation(Schedule(LOSS), crossing, 5, LIMIT, workers=2).run()
    assert done.decisions == []
    assert done.epochs == 5 * LIMIT


def test_where_a_fit_pauses() -> None:
    schedule = Asha(LOSS, BY, RUNGS)
    assert [schedule.pause(target) for target in range(4)] == [(BY, 1.0), (BY, 3.0), (BY, 9.0), None]
    # the last rung is where the config's own limit is
    schedule = Asha(LOSS, BY, (*RUNGS, LIMIT), LIMIT)
    assert (schedule.last, schedule.pause(2), schedule.pause(3)) == (3, (BY, 9.0), None)
    assert Simulation(schedule, lambda number, _: float(number), 27, LIMIT).run().at_rungs == [27, 9, 3, 1]


@pytest.mark.parametrize(("kind", "tolerance"), [("Schedule", 0.0), ("Asha", 0.3), ("Hyperband", 0.3), ("Median", 0.6)])
def test_how_many_trials_are_expected_at_each_rung(kind: str, tolerance: float) -> None:
    done = Simulation(KINDS[kind], crossing, 81, LIMIT).run()
    expected = KINDS[kind].expected(81)
    assert expected[0] == done.at_rungs[0]
    for number, about in zip(done.at_rungs, expected, strict=True):
        assert about == pytest.approx(number, rel=tolerance, abs=1.5)


def test_how_far_rungs_are() -> None:
    assert [Asha(LOSS, BY, RUNGS, LIMIT).length(rung) for rung in range(-1, 4)] == [0.0, 1.0, 3.0, 9.0, 27.0]
    assert Asha(LOSS, BY, RUNGS).length(3) == 18.0
    assert [Schedule(LOSS).length(rung) for rung in (-1, 0)] == [0.0, 1.0]
