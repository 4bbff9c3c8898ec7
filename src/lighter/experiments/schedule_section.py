"""Parse the section `experiment::search::schedule`: which trials train on, and when that is decided.

schedule: {kind: asha, by: trainer::max_epochs, rungs: [1, 3, 9, 27], reduction: 3}
schedule: {kind: hyperband, min: 1}              # rungs 1, 3, 9, ... up to the limit of the fit
schedule: {kind: median, rungs: [5, 10], min_trials: 5}
schedule: none
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from lighter.config.problems import Problem, indefinite, nearest
from lighter.config.tree import Node, is_reference, join
from lighter.experiments.schedule import Asha, Hyperband, Median, Schedule
from lighter.experiments.trials import Objective

PATH = "experiment::search::schedule"
EPOCHS, STEPS, TIME = COUNTERS = ("trainer::max_epochs", "trainer::max_steps", "trainer::max_time")
REDUCTION, MIN_TRIALS = 3, 5
_KEYS = {
    "none": ("kind",),
    "asha": ("kind", "by", "rungs", "min", "reduction"),
    "hyperband": ("kind", "by", "rungs", "min", "reduction"),
    "median": ("kind", "by", "rungs", "min", "reduction", "min_trials"),
}
_TIME = re.compile(r"(\d+):(\d\d):(\d\d):(\d\d)")  # as Lightning's Timer reads it
_MOST_RUNGS = 100


def parse_schedule(
    node: Node | None, root: Node, objectives: Sequence[Objective], problems: list[Problem]
) -> Schedule | None:
    """Return the schedule that a section says, `none` without one; None where there are problems, which are added.

    `root` is the config, whose trainer has the limits of a fit.
    """
    # An experiment without an objective compares nothing.
    objective = objectives[0] if objectives else Objective("")
    if node is None or node.value is None:
        return Schedule(objective)
    count = len(problems)
    schedule = _Section(node, root, problems).schedule(objective)
    if schedule is not None and not isinstance(schedule, (Asha, Median)):
        return schedule if len(problems) == count else None
    if len(objectives) != 1 and len(problems) == count:
        message = f"a schedule compares trials by one objective; this experiment has {len(objectives) or 'none'}"
        hint = "With `schedule: none` every trial trains to its end." if objectives else "objective: min val/loss/epoch"
        problems.append(Problem(message, node.place, PATH, hint))
    return schedule if len(problems) == count else None


def limit_of(root: Node, by: str) -> float | None:
    """Return where a counter ends a fit, `inf` if it does not; None if that is known only when the config is built."""
    node = root.find(by)
    for _ in range(10):  # a reference to a reference
        if node is None or not (isinstance(node.value, str) and node.value.startswith("@")):
            break
        node = root.find(node.value[1:])
    if node is None:
        return None if root.find(by) is not None else math.inf
    if node.value in (None, -1):
        return math.inf
    return seconds_of(node) if by == TIME else _number(node.value)


def seconds_of(node: Node) -> float | None:
    """Return the seconds of a time in one of Lightning's formats, or in seconds; None if it is no time."""
    value = node.plain()
    match = _TIME.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        days, hours, minutes, seconds = map(int, match.groups())
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
    try:
        return timedelta(**value).total_seconds() if isinstance(value, dict) else _number(value)
    except (TypeError, OverflowError):
        return None


def _number(value: object) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None  # type: ignore[arg-type]


@dataclass
class _Section:
    node: Node
    root: Node
    problems: list[Problem]

    def schedule(self, objective: Objective) -> Schedule | None:
        kind = self._kind()
        if kind is None or kind == "none":
            return Schedule(objective) if kind else None
        by = self._counter()
        reduction = self._integer("reduction", REDUCTION, least=2)
        min_trials = self._integer("min_trials", MIN_TRIALS, least=0)
        limit = limit_of(self.root, by) if by else None
        rungs = self._rungs(by, limit, reduction) if by and reduction else ()
        if not (by and reduction and rungs) or min_trials is None:
            return None
        limit = math.inf if limit is None else limit
        if kind == "median":
            return Median(objective, by, rungs, limit, min_trials)
        return (Asha if kind == "asha" else Hyperband)(objective, by, rungs, limit, reduction)

    def _kind(self) -> str | None:
        if isinstance(self.node.value, str):
            return self._known_kind(self.node, PATH)
        kind = self.node.child("kind")
        if not isinstance(self.node.value, dict) or kind is None:
            found = "a dict without `kind`" if isinstance(self.node.value, dict) else indefinite(self.node.plain())
            self._wrong(f"a schedule is a dict with its `kind`; found {found}", self.node, hint=_example())
            return None
        known = self._known_kind(kind, join(PATH, "kind"))
        keys = _KEYS[known] if known else ()
        for key, child in self.node.value.items() if known else ():
            if key not in keys:
                hint = nearest(key, keys) if keys != ("kind",) else "Every trial trains to its end."
                self._wrong(f"`{known}` has no such setting", child, key, hint, at_key=True)
        return known

    def _known_kind(self, node: Node, path: str) -> str | None:
        kind = "none" if node.value is None else node.value
        if isinstance(kind, str) and kind in _KEYS:
            return kind
        self.problems.append(
            Problem(f"this schedule is unknown: {indefinite(node.plain())}", node.origin, path, nearest(kind, _KEYS))
        )
        return None

    def _counter(self) -> str | None:
        node = self.node.child("by")
        if node is None:
            return EPOCHS
        if node.value in COUNTERS:
            return str(node.value)
        message = f"this is no counter of the trainer that ends a fit: {indefinite(node.plain())}"
        written = str(node.plain())
        written = written if written.startswith("trainer::") else f"trainer::{written}"
        self._wrong(message, node, "by", nearest(written, COUNTERS))
        return None

    def _integer(self, key: str, default: int, least: int) -> int | None:
        node = self.node.child(key)
        if node is None:
            return default
        if type(node.value) is int and node.value >= least:
            return node.value
        self._wrong(f"this is an integer from {least} on; found {indefinite(node.plain())}", node, key)
        return None

    def _rungs(self, by: str, limit: float | None, reduction: int) -> tuple[float, ...]:
        rungs, first = self.node.child("rungs"), self.node.child("min")
        if rungs is not None and first is not None:
            self._wrong("`rungs` are written out, so `min` has no use", first, "min", at_key=True)
            return ()
        if rungs is not None:
            return self._written(rungs, by, limit)
        return self._generated(first, by, limit, reduction)

    def _written(self, node: Node, by: str, limit: float | None) -> tuple[float, ...]:
        if not isinstance(node.value, list) or not node.value:
            found = "an empty list" if node.value == [] else indefinite(node.plain())
            self._wrong(f"rungs are a list of values of `{by}`; found {found}", node, "rungs", "rungs: [1, 3, 9]")
            return ()
        values = [self._value(each, by, limit, join("rungs", index)) for index, each in enumerate(node.value)]
        for index, (before, after) in enumerate(pairwise(values), start=1):
            if before is not None and after is not None and after <= before:
                message = f"rungs go upwards; {_shown(after)} comes after {_shown(before)}"
                self._wrong(message, node.value[index], join("rungs", index))
        return tuple(value for value in values if value is not None)

    def _generated(self, first: Node | None, by: str, limit: float | None, reduction: int) -> tuple[float, ...]:
        if first is None and by != EPOCHS:
            self._wrong(f"for `{by}` a schedule needs its `rungs`, or `min`, the first of them", self.node)
            return ()
        if limit is None or math.isinf(limit):
            unknown = "is worked out later" if limit is None else "is not in this config"
            self._wrong(f"`{by}` {unknown}, so the rungs up to it are not known", self.node, hint="rungs: [1, 3, 9]")
            return ()
        value = 1.0 if first is None else self._value(first, by, limit, "min")
        rungs: list[float] = []
        while value is not None and value < limit and len(rungs) < _MOST_RUNGS:
            rungs.append(value)
            value *= reduction
        if not rungs and value is not None:
            at = first or self.node
            self._wrong(
                f"the fit ends at {_shown(limit)} ({by}), so there is no rung before", at, "min" if first else ""
            )
        return tuple(rungs)

    def _value(self, node: Node, by: str, limit: float | None, key: str) -> float | None:
        value = seconds_of(node) if by == TIME else _number(node.value)
        is_count = by == TIME or value is None or value.is_integer()
        if value is None or value <= 0 or not is_count:
            kind = "a positive time, in seconds or as 00:01:00:00" if by == TIME else "a positive integer"
            hint = "It is needed before references are worked out: write it out." if is_reference(node.value) else ""
            self._wrong(f"a rung of `{by}` is {kind}; found {indefinite(node.plain())}", node, key, hint)
            return None
        if limit is not None and value > limit:
            hint = f"Raise `{by}`, or take the rung away."
            self._wrong(f"this rung is never reached: the fit ends at {_shown(limit)} ({by})", node, key, hint)
        return value

    def _wrong(self, message: str, node: Node, key: object = "", hint: str = "", *, at_key: bool = False) -> None:
        path = f"{PATH}::{key}" if key != "" else PATH
        self.problems.append(Problem(message, node.place if at_key else node.origin, path, hint))


def _shown(value: float) -> str:
    return f"{value:g}" if value < 1e6 else f"{value:.0f}"


def _example() -> str:
    return "schedule: {kind: asha, by: trainer::max_epochs, rungs: [1, 3, 9]}"
