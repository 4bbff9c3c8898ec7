"""The verdicts of a page are those of `lighter compare`."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from lighter.errors import RunError
from lighter.results.report.document import document
from lighter.results.report.subject import find_subject
from tests.results.report.jobs import make_fit, make_search

pytest.importorskip("scipy")


def verdict(root: Path, *words: str) -> Any:
    return document(find_subject(list(words), root))["verdict"]


def test_groups_of_runs_are_compared(tmp_path: Path) -> None:
    runs = [make_fit(tmp_path, number, seed=number % 4, lr=0.1 if number < 4 else 0.01) for number in range(8)]
    found = verdict(tmp_path, *map(str, runs))
    assert [side["name"] for side in found["sides"]] == ["lr=0.1", "lr=0.01"]
    assert found["sides"][0]["is_best"]
    assert "lr=0.1" in found["verdict"]


def test_the_trials_of_an_experiment_are_compared_in_little_time(tmp_path: Path) -> None:
    make_search(tmp_path, trials=33, seeds=3)
    begun = time.process_time()
    found = verdict(tmp_path, "sweep")
    assert time.process_time() - begun < 4
    assert found["sides"][0]["name"].startswith("trial 3")
    assert (len(found["sides"]), found["notes"][-1]) == (12, "Shown are the best 12 of 33 sides.")


def test_what_cannot_be_compared_is_refused_with_the_reason(tmp_path: Path) -> None:
    data = {name: {"val": [{"class": "Digits", "length": 5, "fingerprint": name}]} for name in "ab"}
    runs = [make_fit(tmp_path, number, lr=0.1 / (number + 1), data=data["ab"[number]]) for number in range(2)]
    found = verdict(tmp_path, *map(str, runs))
    assert "data" in found["refused"]


def test_a_group_with_a_member_that_diverged_is_refused_as_compare_does(tmp_path: Path) -> None:
    runs = [make_fit(tmp_path, number, seed=number % 3, lr=0.1 if number < 3 else 0.01) for number in range(5)]
    runs.append(make_fit(tmp_path, 5, seed=2, lr=0.01, metrics={"val/loss/epoch": math.nan}))
    found = document(find_subject(list(map(str, runs)), tmp_path))
    assert "is nan, so `lr=0.01` has no mean" in found["verdict"]["refused"]
    assert [group["not_finite"] for group in found["groups"]] == [None, "1 of 3 is nan"]
    assert found["groups"][1]["estimate"] is None


def test_a_member_that_failed_is_told_and_its_values_do_not_count(tmp_path: Path) -> None:
    runs = [make_fit(tmp_path, number, seed=number % 3, lr=0.1 if number < 3 else 0.01) for number in range(5)]
    runs.append(make_fit(tmp_path, 5, seed=2, lr=0.01, status="failed", metrics={"val/loss/epoch": 0.0}))
    found = document(find_subject(list(map(str, runs)), tmp_path))
    assert any("1 of 3 members of `lr=0.01`" in note for note in found["verdict"]["notes"])
    assert [group["estimate"]["members"] for group in found["groups"]] == [3, 2]
    assert [run["counts"] for run in found["runs"]] == [True] * 5 + [False]


def test_a_group_without_any_result_is_told(tmp_path: Path) -> None:
    runs = [make_fit(tmp_path, number, seed=number % 2, lr=0.1 if number < 2 else 0.01) for number in range(4)]
    runs.append(make_fit(tmp_path, 5, lr=1.0, status="failed"))
    assert "`lr=1` is not in it" in verdict(tmp_path, *map(str, runs))["notes"][-1]
    assert "`lr=1` is not in it" in verdict(tmp_path, str(runs[0]), str(runs[-1]))["refused"]


def test_one_run_is_not_on_two_sides(tmp_path: Path) -> None:
    make_search(tmp_path)
    with pytest.raises(RunError, match="is in `x` and in `y`; a run is on one side alone"):
        find_subject(["x=sweep/trial-0", "y=sweep/trial-0"], tmp_path)


def test_all_runs_of_a_folder_are_no_sides(tmp_path: Path) -> None:
    make_fit(tmp_path, 0, lr=0.1)
    make_fit(tmp_path, 1, lr=0.01)
    assert verdict(tmp_path) is None


def test_sides_that_are_named_have_their_names(tmp_path: Path) -> None:
    make_search(tmp_path, seeds=3)
    subject = find_subject(["fast=sweep/trial-3", "base=sweep/trial-0"], tmp_path)
    found = document(subject)
    assert {group["label"] for group in found["groups"]} == {"fast", "base"}
    assert [side["name"] for side in found["verdict"]["sides"]] == ["fast", "base"]
    assert (found["title"], [row["path"] for row in found["config"]]) == ("fast, base", ["model::lr", "model::kind"])


def test_runs_that_commas_join_are_sides_as_in_compare(tmp_path: Path) -> None:
    # of one config: by their configs they would be one group
    runs = [make_fit(tmp_path, number, seed=number % 3).relative_to(tmp_path) for number in range(6)]
    words = [",".join(map(str, runs[:3])), ",".join(map(str, runs[3:]))]
    page = document(find_subject(words, tmp_path))
    assert {side["name"] for side in page["verdict"]["sides"]} == set(words)
    assert [len(group["runs"]) for group in page["groups"]] == [3, 3]
    # one word alone is runs to look at, by their configs
    assert [len(group["runs"]) for group in document(find_subject(words[:1], tmp_path))["groups"]] == [3]
