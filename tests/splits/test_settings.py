"""Settings of a split, and all their mistakes at once."""

from __future__ import annotations

import pytest

from lighter.config import yaml
from lighter.config.problems import Problem
from lighter.config.tree import Source
from lighter.splits.settings import SplitSettings, parse


def parsed(text: str, *, of_experiment: bool = False) -> tuple[SplitSettings | None, list[Problem]]:
    problems: list[Problem] = []
    node = yaml.parse(Source("test", text), problems)
    assert node is not None
    assert not problems
    return parse(node, "data::split", problems, of_experiment=of_experiment), problems


def test_defaults() -> None:
    settings, problems = parsed("{kind: stratified}")
    assert not problems
    assert settings is not None
    assert (settings.n, settings.fold, settings.seed, settings.shuffle, settings.leaks) == (5, 0, 0, True, "refuse")
    assert settings.count == 5


def test_groups_are_not_shuffled_unless_asked() -> None:
    settings, _ = parsed("{kind: grouped, groups: patient}")
    assert settings is not None
    assert not settings.shuffle


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("{kind: repeated, n: 3, repeats: 4, fold: 11}", 12),
        ("{splitter: {_target_: sklearn.model_selection.ShuffleSplit, n_splits: 7}}", 7),
        ("{splitter: {_target_: a.B, n_splits: 2, n_repeats: 3}}", 6),
        ("{splitter: {_target_: a.B}}", None),
        ("{splitter: {_target_: a.B}, n: 4}", 4),
    ],
)
def test_number_of_folds(text: str, count: int | None) -> None:
    settings, problems = parsed(text)
    assert not problems
    assert settings is not None
    assert settings.count == count


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("5", "a split is a dict; found 5", "For example"),
        ("{n: 5}", "this split has no `kind`", "Add `kind`"),
        ("{kind: stratifed}", "this kind of split is unknown: 'stratifed'", "Did you mean `stratified`?"),
        ("{kind: plain, splitter: {_target_: a.B}}", "a `kind` or a `splitter`, not both", ""),
        ("{kind: plain, n: 1}", "`n` is a whole number from 2 on; found 1", ""),
        ("{kind: plain, n: 5.5}", "`n` is a whole number from 2 on; found 5.5", ""),
        ("{kind: plain, fold: 5}", "there are 5 folds, so `fold` is 0 to 4; found 5", ""),
        ("{kind: plain, fold: -1}", "`fold` is a whole number from 0 on; found -1", ""),
        ("{kind: plain, fold: '@vars::fold'}", "`fold` is needed before references are worked out", "%vars::fold"),
        ("{kind: plain, shuffle: 1}", "`shuffle` is true or false; found 1", ""),
        ("{kind: plain, leaks: allow}", "`leaks` is one of refuse, warn, ignore; found 'allow'", ""),
        ("{kind: plain, gap: 3}", "`gap` says nothing to this split; it is for: time_series", ""),
        ("{kind: plain, predict: train}", "`predict` is `val`; found 'train'", ""),
        ("{kind: plain, folds: 3}", "this setting of a split is unknown", "Did you mean `fold`?"),
        ("{kind: grouped}", "a grouped split needs the groups of the samples", "Add `groups`"),
        ("{kind: indices}", "a split by indices needs a file of them", "Add `file`"),
        ("{kind: indices, file: nowhere.json}", "there is no file nowhere.json", '"train"'),
        ("{splitter: KFold}", "`splitter` is a definition of an object", "_target_"),
    ],
)
def test_mistakes(text: str, message: str, hint: str) -> None:
    settings, problems = parsed(text)
    assert settings is None
    (problem,) = problems
    assert message in problem.message
    assert hint in problem.hint


def test_all_mistakes_at_once() -> None:
    _, problems = parsed("{kind: plain, n: 0, seed: x, gap: 1, fould: 2}")
    assert [problem.path.rpartition("::")[2] for problem in problems] == ["gap", "fould", "n", "seed"]


def test_folds_of_an_experiment_have_no_fold() -> None:
    settings, problems = parsed("{kind: plain, n: 3, fold: 1}", of_experiment=True)
    assert settings is None
    assert problems[0].hint == "Leave `fold` out."
    _, problems = parsed("{splitter: {_target_: a.B}}", of_experiment=True)
    assert problems[0].message == "how many folds there are is not known"
