"""Curves are reduced without hiding anything."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import pytest

from lighter.results.report.curves import MOST_POINTS, points, public, shown_curves, within_budget
from lighter.runs.curves import Curve


def curve(values: Sequence[float], name: str = "loss", steps: Sequence[int] | None = None) -> Curve:
    return Curve(name, array("q", range(len(values)) if steps is None else steps), array("d", values))


def test_a_short_curve_stays_as_it_is() -> None:
    assert points(curve([3.0, math.nan, 1.25]), 400, (0, 2)) == {"step": [0, 1, 2], "value": [3.0, None, 1.25]}


def test_a_long_one_has_mean_lowest_and_highest_of_spans_and_says_how_many_values_there_were() -> None:
    values = [1.0] * 1000
    values[517] = 9.0
    reduced = points(curve(values), 100, (0, 999))
    assert (len(reduced["step"]), reduced["of"]) == (100, 1000)
    assert (max(reduced["high"]), max(reduced["value"]), max(reduced["low"])) == (9.0, 1.8, 1.0)
    at = reduced["high"].index(9.0)
    assert reduced["step"][at] == 515
    assert math.isclose(sum(reduced["value"]) / 100, sum(values) / 1000)


def test_runs_of_one_name_are_cut_at_the_same_steps_so_that_they_have_a_mean() -> None:
    data = public({"loss": [(0, curve([0.0] * 2000)), (1, curve([1.0] * 1500))]})["loss"]
    assert [each["run"] for each in data] == [0, 1]
    assert data[1]["step"] == data[0]["step"][: len(data[1]["step"])]
    assert len(data[0]["step"]) == MOST_POINTS


def test_nan_makes_the_mean_of_its_span_unknown_and_no_other() -> None:
    reduced = points(curve([1.0] * 50 + [math.nan] + [1.0] * 49), 10, (0, 99))
    assert [value is None for value in reduced["value"]] == [index == 5 for index in range(10)]


@pytest.mark.parametrize("count", [1, 500, 3000])
def test_many_curves_have_fewer_points_each(count: int) -> None:
    data = public({"loss": [(index, curve([0.5] * 1000)) for index in range(count)]})
    assert sum(len(each["step"]) for each in data["loss"]) <= max(60_000, 40 * count)


def test_single_values_and_constants_of_the_optimizer_have_no_chart() -> None:
    curves = [
        curve([1.0]),
        curve([0.9, 0.9], "train/optimizer/Adam/beta1"),
        curve([0.9, 0.8], "train/optimizer/Adam/lr"),
    ]
    assert list(shown_curves([curves, [curve([2.0])]])) == ["train/optimizer/Adam/lr"]


def test_a_thousand_runs_have_the_curves_that_matter_most() -> None:
    names = ["train/loss/epoch", "train/loss/step", "val/accuracy/epoch", "val/loss/epoch"]
    curves = {name: [(run, curve([0.5, 0.4], name)) for run in range(1000)] for name in names}
    kept, left_out = within_budget(curves, "val/loss/epoch")
    assert list(kept) == ["val/loss/epoch"]
    assert left_out == ["val/accuracy/epoch", "train/loss/epoch", "train/loss/step"]
    few = {name: of_name[:10] for name, of_name in curves.items()}
    assert within_budget(few, None) == (few, [])
