"""Folds of an experiment: parsed with all their mistakes, and the override of each member."""

from __future__ import annotations

from typing import Any

import pytest

from lighter.config import yaml
from lighter.config.load import load
from lighter.config.problems import Problem
from lighter.config.tree import Source
from lighter.experiments.folds import fold_override, n_folds, parse_folds


def folds(text: str) -> tuple[Any, list[Problem]]:
    problems: list[Problem] = []
    return parse_folds(yaml.parse(Source("test", text), problems), problems), problems


@pytest.mark.parametrize(
    ("text", "plain", "count"),
    [
        ("{n: 3}", {"kind": "plain", "n": 3}, 3),
        ("{kind: stratified}", {"kind": "stratified"}, 5),
        ("{kind: repeated, n: 3, repeats: 4}", {"kind": "repeated", "n": 3, "repeats": 4}, 12),
        ("{splitter: {_target_: a.B, n_splits: 7}}", {"splitter": {"_target_": "a.B", "n_splits": 7}}, 7),
    ],
)
def test_folds(text: str, plain: dict[str, Any], count: int) -> None:
    asked, problems = folds(text)
    assert not problems
    assert asked == plain
    assert n_folds(asked) == count


def test_mistakes() -> None:
    asked, problems = folds("{kind: stratified, n: 1, fold: 2, gap: 3}")
    assert asked is None
    assert [problem.path for problem in problems] == [
        "experiment::folds::fold",
        "experiment::folds::gap",
        "experiment::folds::n",
    ]
    assert parse_folds(None, problems) is None


def test_the_override_replaces_the_split() -> None:
    asked, _ = folds("{kind: grouped, n: 4, groups: \"$@vars::table['id']\", leaks: ignore}")
    split = {"kind": "grouped", "n": 4, "groups": "$@vars::table['id']", "leaks": "ignore", "fold": 2}
    for data in ({"_target_": "a.B", "split": {"kind": "plain", "seed": 3}}, {"_target_": "a.B"}):
        merged = load([{"data": data}, fold_override(asked, 2, load([{"data": data}]))]).plain()
        assert merged["data"] == {"_target_": "a.B", "split": split}
    assert load([{"system": {}}, fold_override(asked, 2)]).plain()["data"] == {"split": split}
