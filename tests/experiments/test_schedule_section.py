"""The section `experiment::search::schedule`: what it says, and all its mistakes with their places."""

from __future__ import annotations

import math

import pytest

from lighter.config import yaml
from lighter.config.problems import Problem
from lighter.config.tree import Node, Source
from lighter.experiments.schedule import Asha, Hyperband, Median, Schedule
from lighter.experiments.schedule_section import PATH, limit_of, parse_schedule
from lighter.experiments.trials import Objective

LOSS = Objective("val/loss/epoch")


def parsed(text: str, trainer: str = "{max_epochs: 27}", count: int = 1) -> tuple[Schedule | None, list[Problem]]:
    problems: list[Problem] = []
    config = f"trainer: {trainer}\nexperiment:\n  search:\n    schedule: {text}\nvars: {{epochs: 27}}\n"
    root = yaml.parse(Source("c.yaml", config, is_file=True), problems)
    assert isinstance(root, Node)
    assert not problems
    schedule = parse_schedule(root.find(PATH), root, [LOSS] * count, problems)
    assert (schedule is None) == bool(problems)
    return schedule, problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", Schedule(LOSS)),
        ("null", Schedule(LOSS)),
        ("{kind: none}", Schedule(LOSS)),
        ("asha", Asha(LOSS, "trainer::max_epochs", (1.0, 3.0, 9.0), 27.0)),
        ("{kind: asha, rungs: [1, 3, 9, 27]}", Asha(LOSS, "trainer::max_epochs", (1.0, 3.0, 9.0, 27.0), 27.0)),
        ("{kind: asha, min: 2, reduction: 4}", Asha(LOSS, "trainer::max_epochs", (2.0, 8.0), 27.0, reduction=4)),
        (
            "{kind: asha, by: trainer::max_steps, rungs: [1e3]}",
            Asha(LOSS, "trainer::max_steps", (1000.0,)),
        ),
        ("{kind: hyperband, rungs: [5]}", Hyperband(LOSS, "trainer::max_epochs", (5.0,), 27.0)),
        (
            "{kind: median, rungs: [5, 6], min_trials: 9}",
            Median(LOSS, "trainer::max_epochs", (5.0, 6.0), 27.0, min_trials=9),
        ),
    ],
)
def test_schedules(text: str, expected: Schedule) -> None:
    schedule, problems = parsed(text)
    assert problems == []
    assert schedule == expected
    assert type(schedule) is type(expected)


@pytest.mark.parametrize("limit", ["00:01:00:00", "{minutes: 60}", "{hours: 1}"])
def test_times_are_in_lightnings_formats_or_seconds(limit: str) -> None:
    text = "{kind: asha, by: trainer::max_time, rungs: [90, 00:00:10:00, {minutes: 20}]}"
    schedule, problems = parsed(text, f"{{max_time: {limit}}}")
    assert problems == []
    assert schedule == Asha(LOSS, "trainer::max_time", (90.0, 600.0, 1200.0), 3600.0)
    schedule, _ = parsed("{kind: asha, by: trainer::max_time, min: 00:00:20:00}", f"{{max_time: {limit}}}")
    assert schedule == Asha(LOSS, "trainer::max_time", (1200.0,), 3600.0)
    schedule, _ = parsed("{kind: asha, by: trainer::max_time, rungs: [60, 3600]}", f"{{max_time: {limit}}}")
    assert schedule is not None
    assert schedule.last == 1


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ("{max_epochs: 27}", 27.0), ("{max_epochs: '@vars::epochs'}", 27.0), ("{max_epochs: -1}", math.inf),
        ("{max_epochs: $2 * 3}", None), ("{max_epochs: '@vars::other'}", None),
        ("{max_epochs: '@trainer::max_epochs'}", None),
        ("{}", math.inf), ("null", math.inf),
    ],
)  # fmt: skip
def test_the_limit_of_a_fit(trainer: str, expected: float | None) -> None:
    root = yaml.parse(Source("c.yaml", f"trainer: {trainer}\nvars: {{epochs: 27}}\n", is_file=True), [])
    assert isinstance(root, Node)
    assert limit_of(root, "trainer::max_epochs") == expected


def test_with_an_unknown_limit_written_rungs_are_taken_as_they_are() -> None:
    schedule, problems = parsed("{kind: asha, rungs: [1, 100]}", "{max_epochs: $3 * 40}")
    assert problems == []
    assert schedule == Asha(LOSS, "trainer::max_epochs", (1.0, 100.0))


@pytest.mark.parametrize(
    ("text", "path", "message", "hint"),
    [
        ("asah", "", "this schedule is unknown: 'asah'", "Did you mean `asha`?"),
        ("{kind: asah}", "kind", "this schedule is unknown: 'asah'", "Did you mean `asha`?"),
        ("{rungs: [1]}", "", "found a dict without `kind`", "schedule: {kind: asha"),
        ("[1, 3]", "", "found a list", "schedule: {kind: asha"),
        ("{kind: asha, rung: [1]}", "rung", "`asha` has no such setting", "Did you mean `rungs`?"),
        ("{kind: none, rungs: [1]}", "rungs", "`none` has no such setting", "trains to its end"),
        ("{kind: asha, min_trials: 3}", "min_trials", "`asha` has no such setting", "There is: kind, by,"),
        ("{kind: asha, by: max_epochs, rungs: [1]}", "by", "no counter of the trainer", "mean `trainer::max_epochs`"),
        ("{kind: asha, by: [1], rungs: [1]}", "by", "no counter of the trainer", ""),
        ("{kind: asha, rungs: []}", "rungs", "found an empty list", "rungs: [1, 3, 9]"),
        ("{kind: asha, rungs: 3}", "rungs", "found 3", "rungs: [1, 3, 9]"),
        ("{kind: asha, rungs: [1, 9, 3]}", "rungs::2", "rungs go upwards; 3 comes after 9", ""),
        ("{kind: asha, rungs: [3, 3]}", "rungs::1", "rungs go upwards; 3 comes after 3", ""),
        ("{kind: asha, rungs: [0, 3]}", "rungs::0", "a positive integer; found 0", ""),
        ("{kind: asha, rungs: [1.5]}", "rungs::0", "a positive integer; found 1.5", ""),
        ("{kind: asha, rungs: [true]}", "rungs::0", "a positive integer; found true", ""),
        ("{kind: asha, rungs: ['@vars::epochs']}", "rungs::0", "found '@vars::epochs'", "write it out"),
        ("{kind: asha, rungs: [1, 28]}", "rungs::1", "never reached: the fit ends at 27 (", "Raise"),
        ("{kind: asha, reduction: 1}", "reduction", "an integer from 2 on; found 1", ""),
        ("{kind: asha, reduction: 2.5}", "reduction", "an integer from 2 on; found 2.5", ""),
        ("{kind: median, min_trials: -1}", "min_trials", "an integer from 0 on; found -1", ""),
        ("{kind: asha, rungs: [1], min: 1}", "min", "so `min` has no use", ""),
        ("{kind: asha, min: 27}", "min", "no rung before", ""),
        ("{kind: asha, by: trainer::max_steps}", "", "needs its `rungs`, or `min`", ""),
        ("{kind: asha, by: trainer::max_steps, min: 5}", "", "is not in this config", "rungs: [1, 3, 9]"),
        ("{kind: asha, by: trainer::max_time, rungs: [-00:01:00]}", "rungs::0", "a positive time, in seconds", ""),
    ],
)  # fmt: skip
def test_mistakes(text: str, path: str, message: str, hint: str) -> None:
    _, problems = parsed(text)
    assert len(problems) == 1
    problem = problems[0]
    assert problem.path == (f"{PATH}::{path}" if path else PATH)
    assert message in problem.message
    assert hint in problem.hint
    assert problem.origin is not None
    assert problem.origin.line == 4


def test_all_mistakes_are_told_at_once() -> None:
    _, problems = parsed("{kind: median, rungs: [0, 99, 3], min_trials: x, colour: red}")
    assert len(problems) == 5


@pytest.mark.parametrize(("count", "found"), [(0, "none"), (2, "2")])
def test_schedules_compare_by_one_objective(count: int, found: str) -> None:
    assert parsed("none", count=count)[1] == []
    _, problems = parsed("asha", count=count)
    assert [problem.message for problem in problems] == [
        f"a schedule compares trials by one objective; this experiment has {found}"
    ]
