"""Comparisons: what the verdict says, and the table that it stands on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import lighter
from lighter.errors import RunError
from tests.results.jobs import (
    ACCURACY,
    BASE,
    CLOSE,
    CONFIG,
    LOSS,
    OURS,
    compared,
    make_fits,
    make_sweep,
)


def test_a_difference_is_called(tmp_path: Path) -> None:
    comparison = compared(tmp_path, {}, {})
    assert comparison.verdict.startswith("`ours` is better than `base`: val/metrics/accuracy is higher by 0.098 (95% ")
    assert "5 seeds, paired)" in comparison.verdict
    ours, base = comparison.rows
    assert (ours.side.name, ours.is_best, ours.against) == ("ours", True, None)
    assert base.against is not None
    assert base.against.is_decided
    assert base.against.difference == pytest.approx(-0.098)
    assert str(comparison) == comparison.verdict


def test_by_a_loss_low_is_better(tmp_path: Path) -> None:
    comparison = compared(tmp_path, {}, {}, metric="val/loss")
    assert comparison.metric == LOSS
    assert comparison.verdict.startswith("`ours` is better than `base`: val/loss is lower by 0.098 (95% interval 0.0")


def test_none_is_called_where_there_is_none(tmp_path: Path) -> None:
    comparison = compared(tmp_path, {}, {"values": (0.82, 0.81, 0.82, 0.82, 0.79)})
    assert comparison.verdict.startswith(
        "`ours` and `base` cannot be told apart by val/metrics/accuracy: the difference is"
    )
    assert comparison.verdict.endswith("would decide it.")
    assert comparison.rows[1].is_tied


def test_two_seeds_say_nothing(tmp_path: Path) -> None:
    comparison = compared(tmp_path, {"values": BASE[:2]}, {"values": OURS[:2]})
    assert comparison.verdict.startswith("Nothing can be said of `ours` and `base` by val/metrics/accuracy: ")
    assert "No interval: " in comparison.markdown()
    data = comparison.public()["sides"][1]["against"]
    assert (data["interval"], data["p_value"]) == (None, None)
    assert set(data["refused"]) >= {"interval", "p_value"}


def test_several_are_compared_with_the_best_after_holm(tmp_path: Path) -> None:
    make_sweep(tmp_path, "search", [BASE, OURS, CLOSE])
    comparison = lighter.compare("search", root=tmp_path)
    assert [row.side.name[:7] for row in comparison.rows] == ["trial 1", "trial 2", "trial 0"]
    assert comparison.verdict == (
        "`trial 1: lr=0.01` is the best of 3 by val/metrics/accuracy (Holm's correction for 3 comparisons)."
    )
    against = [row.against for row in comparison.rows[1:]]
    assert all(each is not None and each.p_adjusted >= each.p_value for each in against)  # type: ignore[operator]


def test_of_very_many_trials_bonferroni_holds_for_all_pairs(tmp_path: Path) -> None:
    make_sweep(tmp_path, "search", [[value - 0.005 * trial for value in OURS] for trial in range(25)])
    comparison = lighter.compare("search", root=tmp_path)
    assert comparison.correction == "Bonferroni's correction for 300 comparisons"
    assert comparison.verdict.endswith("(Bonferroni's correction for 300 comparisons).")
    assert "| p (Bonferroni) |" in comparison.markdown()
    against = [row.against for row in comparison.rows if row.against is not None]
    assert all(each.p_adjusted == min(each.p_value * 300, 1) for each in against if isinstance(each.p_value, float))  # type: ignore[operator]
    assert len(against) == 24


def test_ties_are_marked(tmp_path: Path) -> None:
    make_sweep(tmp_path, "search", [(0.2, 0.21, 0.22, 0.2, 0.21), (0.88, 0.95, 0.92, 0.91, 0.9), OURS])
    comparison = lighter.compare("search", root=tmp_path)
    assert [(row.is_best, row.is_tied) for row in comparison.rows] == [(True, False), (False, True), (False, False)]
    assert (
        "and cannot be told apart from `trial 2: lr=0.001`; it is better than `trial 0: lr=0.1`" in comparison.verdict
    )
    lines = comparison.markdown().splitlines()
    assert lines[4].startswith("| **trial 1: lr=0.01** | 5 | **0.912 ± ")
    assert "†" in lines[5]
    assert "†" not in lines[6]
    assert "- † not distinguishable from the best." in lines


def test_against_a_side_that_was_fixed_before(tmp_path: Path) -> None:
    make_fits(tmp_path, "base", BASE)
    make_fits(tmp_path, "ours", OURS, hour=11)
    make_fits(tmp_path, "close", CLOSE, hour=12)
    comparison = lighter.compare("ours", "base", "close", against="base", metric=ACCURACY, root=tmp_path)
    assert comparison.verdict == (
        "Compared with `base` by val/metrics/accuracy: `ours` is better, `close` cannot be told apart"
        " (Holm's correction for 2 comparisons)."
    )
    assert [row.against is None for row in comparison.rows] == [False, False, True]
    with pytest.raises(RunError, match="`bas` is none of the sides"):
        lighter.compare("ours", "base", "close", against="bas", root=tmp_path)


def test_ties_are_those_with_the_best_alone(tmp_path: Path) -> None:
    """Beside another reference, a side that is far worse than the best was marked as tied with it."""
    make_fits(tmp_path, "base", BASE)
    make_fits(tmp_path, "ours", OURS, hour=11)
    make_fits(tmp_path, "close", CLOSE, hour=12)
    words = ("ours", "base", "close")
    beside = lighter.compare(*words, against="base", metric=ACCURACY, root=tmp_path)
    assert "†" not in beside.markdown()
    assert not any(side["is_tied"] for side in beside.public()["sides"])
    make_fits(tmp_path, "other", (0.88, 0.95, 0.92, 0.91, 0.85), hour=13)
    best = lighter.compare("ours", "base", "other", against="ours", metric=ACCURACY, root=tmp_path)
    assert [row.side.name for row in best.rows if row.is_tied] == ["other"]


def test_of_two_seeds_nothing_is_said(tmp_path: Path) -> None:
    for hour, (name, values) in enumerate({"a": BASE[:2], "b": OURS[:2], "c": CLOSE[:2]}.items(), 10):
        make_fits(tmp_path, name, values, hour=hour)
    for against in (None, "a"):
        comparison = lighter.compare("a", "b", "c", against=against, metric=ACCURACY, root=tmp_path)
        assert comparison.verdict.startswith("Nothing can be said of these 3 by val/metrics/accuracy: 2 members of a ")
        for mark in ("()", "†", "not paired"):
            assert mark not in comparison.markdown()
    make_fits(tmp_path, "d", OURS, hour=13)
    make_fits(tmp_path, "e", BASE, hour=14)
    verdict = lighter.compare("a", "d", "e", against="e", metric=ACCURACY, root=tmp_path).verdict
    assert "by val/metrics/accuracy: `d` is better, nothing can be said of `a` (Holm's correction for 1 co" in verdict
    verdict = lighter.compare("a", "d", "e", metric=ACCURACY, root=tmp_path).verdict
    assert (
        "`d` has the best mean of 3 by val/metrics/accuracy, and is better than `e`; nothing can be said of `a` ("
        in (verdict)
    )


COLLAPSED = [0.8 + 0.02 + 0.0001 * (seed % 7) for seed in range(19)] + [0.1]
"""Better than 0.8 by about 0.02 for 19 seeds, and far worse for one: the mean is lower."""


@pytest.mark.parametrize("metric", [ACCURACY, LOSS])
@pytest.mark.parametrize("options", [{}, {"against": "base"}, {"test": "permutation"}])
def test_a_mean_that_points_the_other_way_than_the_interval_decides_nothing(
    metric: str, options: dict[str, Any], tmp_path: Path
) -> None:
    comparison = compared(tmp_path, {"values": [0.8] * 20}, {"values": COLLAPSED}, metric=metric, **options)
    assert comparison.verdict.startswith("`base` and `ours` cannot be told apart by val/")
    against = next(row.against for row in comparison.rows if row.against is not None)
    assert not against.is_decided
    assert against.is_opposed == (options.get("test") != "permutation")  # which tests the mean, and calls nothing
    if against.is_opposed:
        assert "the mean and the typical difference point different ways: the mean one is " in comparison.verdict
        assert "95% interval" in comparison.verdict
    low, high = against.interval
    assert isinstance(low, float)
    assert low <= against.difference <= high  # type: ignore[operator]


def test_a_mean_that_points_the_other_way_decides_nothing_among_several(tmp_path: Path) -> None:
    values = {"base": [0.8] * 20, "ours": COLLAPSED, "low": [0.5 + 0.001 * (seed % 3) for seed in range(20)]}
    for hour, (name, each) in enumerate(values.items(), 10):
        make_fits(tmp_path, name, each, hour=hour)
    comparison = lighter.compare(*values, metric=ACCURACY, root=tmp_path)
    assert (
        "`base` has the best mean of 3 by val/metrics/accuracy, and cannot be told apart from `ours`; it is better"
        in (comparison.verdict)
    )
    assert any("`ours` beside `base`: the mean and the typical difference point " in each for each in comparison.notes)
    beside = lighter.compare(*values, metric=ACCURACY, root=tmp_path, against="base")
    assert "`low` is worse, `ours` cannot be told apart" in beside.verdict


def test_the_number_of_a_verdict_is_the_one_that_its_interval_is_of(tmp_path: Path) -> None:
    ours = [0.8 + 0.02 + 0.0001 * (seed % 7) for seed in range(19)] + [0.7]
    comparison = compared(tmp_path, {"values": [0.7] * 20}, {"values": [*ours[:-1], 5.0]})
    found = re.search(r"is higher by ([\d.]+) \(95% interval ([\d.]+) to ([\d.]+)", comparison.verdict)
    assert found is not None
    amount, low, high = map(float, found.groups())
    assert low <= amount <= high
    against = comparison.rows[1].against
    assert against is not None
    assert against.mean_difference == pytest.approx(comparison.rows[1].mean - comparison.rows[0].mean)


def test_no_side_is_the_best_that_a_test_calls_worse_than_another(tmp_path: Path) -> None:
    b = [0.80 + 0.003 * (seed % 4) for seed in range(10)]
    a = [value - 0.02 - 0.001 * (seed % 3) for seed, value in enumerate(b)] + [0.99] * 6
    for hour, (name, each) in enumerate({"A": a, "B": b, "C": [0.5 + 0.001 * at for at in range(10)]}.items(), 10):
        make_fits(tmp_path, name, each, hour=hour)
    comparison = lighter.compare("A", "B", "C", metric=ACCURACY, root=tmp_path)
    assert comparison.verdict.startswith(
        "`A` has the best mean of 3 by val/metrics/accuracy, but is worse than `B` over the members that can be paired;"
        " it is better than `C` ("
    )
    assert not any(row.is_best for row in comparison.rows)
    assert "**" not in comparison.markdown()
    for options in ({}, {"against": "B"}):
        of_two = lighter.compare("A", "B", metric=ACCURACY, root=tmp_path, **options)  # type: ignore[arg-type]
        assert of_two.verdict.startswith("`B` is better than `A`: ")
        assert not any(row.is_best for row in of_two.rows)


def test_members_that_are_not_paired_are_counted_on_both_sides(tmp_path: Path) -> None:
    comparison = compared(tmp_path, {"values": (*BASE, *BASE)}, {"first": 100, "values": OURS})
    assert "5 and 10 members, not paired" in comparison.verdict


@pytest.mark.parametrize(
    ("sides", "options", "message"),
    [
        (["base", "ours"], {"test": "permuation"}, "`permuation` is no test. Did you mean `permutation`?"),
        (["base", "ours"], {"metric": 3}, "`metric` is a name or several, and not 3"),
        (["base", "ours"], {"metric": [ACCURACY, None]}, "`metric` is a name or several, and not null"),
        (["base", "ours"], {"allow": "date"}, "`date` is nothing that can be allowed"),
        (["base", "ours"], {"allow": 1}, "`allow` is a name or several, and not 1"),
        (["base", ["ours"]], {}, "a side is a word, a path, or the handle of a run or an experiment, and not a list"),
        (["base", None], {}, "and not null"),
        ([{"a": 1}], {}, "and not a dict"),
        (["base", "ours"], {"test": "bayes", "region": "1"}, "is a number from 0 on, and not '1'"),
    ],
)
def test_mistakes_of_python(sides: list[Any], options: dict[str, Any], message: str, tmp_path: Path) -> None:
    make_fits(tmp_path, "base", BASE)
    make_fits(tmp_path, "ours", OURS, hour=11)
    with pytest.raises(RunError, match=re.escape(message)):
        lighter.compare(*sides, root=tmp_path, **options)


def test_which_metric(tmp_path: Path) -> None:
    make_fits(tmp_path, "base", BASE)
    make_fits(tmp_path, "ours", OURS, hour=11, metrics={"train/x": 1.0, "val/y": 2.0})
    with pytest.raises(RunError, match="have no metric in common"):
        lighter.compare("base", "ours", root=tmp_path)
    with pytest.raises(
        RunError, match=r"10-00-00-base of `base` has no metric `val/y`; it has val/loss/epoch, val/metr"
    ):
        lighter.compare("base", "ours", metric="val/y", root=tmp_path)
    with pytest.raises(RunError, match="none of these runs has the metric `val/los`"):
        lighter.compare("base", "ours", metric="val/los", root=tmp_path)
    assert lighter.compare("base", "base", allow="seeds", root=tmp_path).metric == LOSS
    folders = [make_sweep(tmp_path, "search", [BASE, OURS], hour=hour) for hour in (15, 16)]
    assert lighter.compare(*map(lighter.Experiment, folders)).metric == ACCURACY
    text = (folders[0] / "config.yaml").read_text()
    (folders[0] / "config.yaml").write_text(text.replace(f"max {ACCURACY}", "min val/loss"))
    with pytest.raises(RunError, match="have different objectives: min val/loss, max val/metrics/accuracy/epoch"):
        lighter.compare(*folders)


def test_seeds_that_only_one_side_has_are_named(tmp_path: Path) -> None:
    comparison = compared(tmp_path, {}, {"values": OURS[:4]})
    assert "4 seeds, paired" in comparison.verdict
    assert "Seeds that only one side has are not in the differences, which are over 4 pairs." in comparison.notes
    assert "- Seeds that only one side has" in comparison.markdown()
    assert "% Seeds that only one side has" in comparison.latex()
    apart = compared(tmp_path / "apart", {}, {"first": 100})
    assert "5 members, not paired" in apart.verdict
    assert any(note.startswith("Members are not paired: give both sides the same seeds") for note in apart.notes)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"test": "bayes"},
            "base, Bayesian correlated t test (Corani and Benavoli 2015): 0.0% that it is better",
        ),
        (
            {"test": "bayes", "region": 0.2},
            "it is better, 100.0% that they differ by no more than 0.2, 0.0% that it is",
        ),
        (
            {"test": "aso"},
            "base, almost stochastic order (Dror et al. 2019): violation ratio at most 1 for better",
        ),
        ({"test": "permutation"}, "p: paired permutation test."),
    ],
)
def test_other_tests(options: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert expected in compared(tmp_path, {}, {}, **options).markdown()


def test_by_a_loss_other_tests_are_the_same(tmp_path: Path) -> None:
    for test in ("bayes", "aso"):
        by_loss, by_accuracy = (
            compared(tmp_path / test / metric[4:8], {}, {}, metric=metric, test=test) for metric in (LOSS, ACCURACY)
        )
        against = [each.rows[1].against for each in (by_loss, by_accuracy)]
        assert against[0] is not None
        assert against[1] is not None
        assert against[0].also == against[1].also != ""


def test_other_tests_of_too_few(tmp_path: Path) -> None:
    for test in ("bayes", "aso"):
        values = {"values": BASE[:2]}, {"values": OURS[:2]}
        assert "needs 3 " in compared(tmp_path / test, *values, test=test).markdown()


def test_folds_of_repeats_are_corrected_by_the_sizes_on_record(tmp_path: Path) -> None:
    """Of two repeats of four folds, a test side is a third of a training side, whatever the number of folds is."""
    split = {"kind": "repeated", "n": 4, "train": 300, "val": 100, "hash": "a"}
    folders = [make_sweep(tmp_path, name, [[*values[:4], *values[:4]]], folds=8, hour=hour, split=split)
               for name, values, hour in (("x", BASE, 15), ("y", (0.83, 0.84, 0.82, 0.85), 16))]  # fmt: skip
    (by_size,) = [row.against for row in lighter.compare(*folders).rows if row.against]
    for folder in folders:
        for path in folder.glob("*/run.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"split": {"hash": "a"}}))
    (by_number,) = [row.against for row in lighter.compare(*folders).rows if row.against]
    assert not isinstance(by_size.p_value, str)
    assert not isinstance(by_number.p_value, str)
    assert by_size.p_value > by_number.p_value


def test_what_varied_and_what_was_fixed(tmp_path: Path) -> None:
    comparison = compared(tmp_path, {}, {})
    assert comparison.sampled[0] == "initialisation of the weights"
    assert "order of the training samples" in comparison.sampled
    assert comparison.fixed[0] == "split into training and validation data"
    folds = [make_sweep(tmp_path, name, [BASE[:4]], folds=4, hour=hour) for name, hour in (("x", 15), ("y", 16))]
    comparison = lighter.compare(*folds)
    assert comparison.sampled == ("split into training and validation data", "samples of the evaluation data")
    assert comparison.rows[1].against is not None
    assert comparison.rows[1].against.pairing == "fold"


def test_an_order_that_is_no_seeds_was_fixed(tmp_path: Path) -> None:
    config = CONFIG.replace("shuffle: true", "batch_size: 3")
    assert "order of the training samples" in compared(tmp_path, {"config": config}, {"config": config}).fixed
