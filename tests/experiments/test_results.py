"""Results: means over members, the order of trials, the best, and the Pareto front."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lighter.experiments.member_files import write_member
from lighter.experiments.results import best, public, representative, results, rows_of_members, status_of, varied
from lighter.experiments.trials import FAILED, FINISHED, PAUSED, RUNNING, WAITING, Member, Objective, Trial, best_first

LOSS, ACCURACY = Objective("val/loss/epoch"), Objective("val/acc/epoch", is_maximized=True)


def trial(number: int, *values: float, rung: int = 0, status: str = FINISHED, target: int | None = None) -> Trial:
    """A trial with a member for each value of its objective."""
    members = [
        Member(number, seed, None, {"a": number}, rung if target is None else target, {rung: (value,)}, status)
        for seed, value in enumerate(values)
    ]
    return Trial(number, {"a": number}, members)


def numbers(trials: list[Trial], *objectives: Objective) -> list[int]:
    return [result.trial.number for result in results(trials, objectives)]


def test_means_and_intervals_are_over_the_members() -> None:
    (result,) = results([trial(0, 1.0, 2.0, 3.0)], [LOSS])
    assert result.estimates[0].mean == 2.0
    assert result.estimates[0].half_width == pytest.approx(4.303 / math.sqrt(3), rel=1e-3)
    assert (result.rung, result.status) == (0, FINISHED)


def test_the_highest_rung_comes_first_then_the_objective() -> None:
    trials = [trial(0, 0.1), trial(1, 0.5, rung=2), trial(2, 0.4, rung=2), trial(3, 0.4, rung=2), trial(4, 0.2, rung=1)]
    assert numbers(trials, LOSS) == [2, 3, 1, 4, 0]
    assert numbers(trials, ACCURACY) == [1, 2, 3, 4, 0]
    assert [each.trial.number for each in best(results(trials, [LOSS]), [LOSS])] == [2]


def test_failed_nan_and_unknown_come_last() -> None:
    failed, unknown = trial(0, 0.1, 0.2), trial(1, 0.1, 0.2, status=WAITING)
    failed.members[1].status = FAILED
    unknown.members[1].results = {}
    trials = [failed, unknown, trial(2, math.nan, 0.1), trial(3, 9.0)]
    found = results(trials, [LOSS])
    assert [each.trial.number for each in found] == [3, 0, 1, 2]
    assert [each.status for each in found] == [FINISHED, FAILED, WAITING, FINISHED]
    assert [each.is_known for each in found] == [True, False, False, False]
    assert best(results(trials[:3], [LOSS]), [LOSS]) == []
    assert best([], [LOSS]) == []


@pytest.mark.parametrize("values", [(math.inf, -math.inf), (1.5e308, 1.5e308)])
def test_values_that_cannot_be_added_end_nothing(values: tuple[float, float]) -> None:
    diverged = trial(0, *values)
    assert numbers([diverged, trial(1, 1.0, 2.0)], LOSS) == [1, 0]
    assert best_first([diverged, trial(1, 1.0, 2.0)], LOSS, 0)[0].number == 1


def test_a_fit_that_ended_early_competes_at_the_rung_that_it_was_promoted_to() -> None:
    early = trial(0, 0.9, target=0)
    early.members[0].results = dict.fromkeys(range(4), (0.9,))
    assert numbers([early, trial(1, 0.5, rung=1)], LOSS) == [1, 0]
    early.members[0].target = 3
    assert numbers([early, trial(1, 0.5, rung=1)], LOSS) == [0, 1]


def test_a_promoted_trial_competes_where_all_its_members_are() -> None:
    promoted = trial(0, 0.5, 0.7, target=1, status=PAUSED)
    promoted.members[0].results[1] = (0.1,)
    (result,) = results([promoted], [LOSS])
    assert (result.rung, result.estimates[0].mean, result.status) == (0, 0.6, WAITING)
    promoted.members[1].status = RUNNING
    assert status_of(promoted) == RUNNING
    promoted.members[1].results[1] = (0.3,)
    assert results([promoted], [LOSS])[0].estimates[0].mean == 0.2


def pareto(number: int, loss: float, accuracy: float) -> Trial:
    return Trial(number, {}, [Member(number, 1, None, {}, 0, {0: (loss, accuracy)}, FINISHED)])


def test_the_best_by_several_objectives_are_the_pareto_front() -> None:
    trials = [
        pareto(0, 0.5, 0.5),
        pareto(1, 0.1, 0.4),
        pareto(2, 0.4, 0.9),
        pareto(3, 0.2, math.nan),
        pareto(4, 0.4, 0.8),
    ]
    found = results(trials, [LOSS, ACCURACY])
    assert [each.trial.number for each in best(found, [LOSS, ACCURACY])] == [1, 2]
    assert [each.trial.number for each in found] == [1, 2, 4, 0, 3]
    # equal ones are both best
    assert len(best(results([pareto(0, 0.1, 0.4), pareto(1, 0.1, 0.4)], [LOSS, ACCURACY]), [LOSS, ACCURACY])) == 2


def test_only_values_that_differ_are_shown() -> None:
    values = [{"a": 1, "b": 2, "c": True, "d": {"x": 1}}, {"a": 1, "b": 3, "c": 1, "d": {"x": 2}}, {"a": 1, "e": 1}]
    trials = [Trial(number, each, []) for number, each in enumerate(values)]
    assert varied(trials) == ["b", "c", "d::x", "e"]
    assert varied(trials[:1]) == []
    assert varied([]) == []


def test_the_member_to_test_is_the_one_with_the_best_objective() -> None:
    (result,) = results([trial(0, math.nan, 0.5, 0.3)], [LOSS])
    assert representative(result, LOSS).seed == 2
    assert representative(result, ACCURACY).seed == 1


def test_results_are_json() -> None:
    (result,) = results([trial(7, 0.25, 0.75)], [LOSS])
    row = json.loads(json.dumps(public(result, [LOSS])))
    assert row["objectives"]["val/loss/epoch"]["mean"] == 0.5
    assert row["members"] == ["trial-0007-seed-0", "trial-0007-seed-1"]
    assert (row["trial"], row["values"], row["rung"], row["status"]) == (7, {"a": 7}, 0, FINISHED)
    (bad,) = results([trial(7, math.nan)], [LOSS])
    assert public(bad, [LOSS])["objectives"]["val/loss/epoch"]["mean"] == "nan"


def test_rows_of_members_have_their_values_and_last_metrics(tmp_path: Path) -> None:
    members = [Member(0, 1, 0, {"model::lr": 0.1}, status=FINISHED), Member(1, 1, 0, {"model::lr": 0.2})]
    for member in members:
        write_member(tmp_path, member)
    record = {"stage": "fit", "status": "finished", "metrics": {"val/loss/epoch": 0.5, "val/acc/epoch": "nan"}}
    (tmp_path / members[0].name / "run.json").write_text(json.dumps(record))
    rows = list(rows_of_members(tmp_path, members))
    assert math.isnan(rows[0].pop("val/acc/epoch"))
    assert rows == [
        {"trial": 0, "seed": 1, "fold": 0, "status": FINISHED, "model::lr": 0.1, "val/loss/epoch": 0.5},
        {"trial": 1, "seed": 1, "fold": 0, "status": WAITING, "model::lr": 0.2},
    ]
