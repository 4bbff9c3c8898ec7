"""Trials and their members: plain values, as the files in an experiment's folder say them.

A trial is one point of the search space. Its members are its fits, one for each seed and fold. A schedule cuts a fit at
rungs: a member pauses at its target rung, and resumes there if its trial is promoted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lighter.experiments.intervals import mean_of

Values = Mapping[str, Any]
"""Values of a trial by config path: plain data; a subtree is a dict."""

WAITING, RUNNING, PAUSED, FINISHED, FAILED = "waiting", "running", "paused", "finished", "failed"


@dataclass(frozen=True)
class Objective:
    """A logged value that is to become small, or large."""

    metric: str
    is_maximized: bool = False

    def better(self, one: float, other: float) -> bool:
        return one > other if self.is_maximized else one < other


@dataclass
class Member:
    """One fit of an experiment: a trial with a seed and a fold.

    Attributes:
        fold: the number of the fold; None without folds.
        target: the index of the rung up to which it is to train.
        results: the objectives at each rung that it has reached, by the rung's index. A fit that ended early, or that
            has trained to its end, has its last objectives at all further rungs too.
        status: `waiting` until it starts; `paused` at a rung; `running`; `finished`; `failed`.
        attempts: how often it was started anew after a failure.
    """

    trial: int
    seed: int
    fold: int | None
    values: Values
    target: int = 0
    results: dict[int, tuple[float, ...]] = field(default_factory=dict)
    status: str = WAITING
    error: str | None = None
    attempts: int = 0

    @property
    def name(self) -> str:
        """The name of its folder: `trial-0007-seed-1-fold-2`."""
        fold = "" if self.fold is None else f"-fold-{self.fold}"
        return f"trial-{self.trial:04}-seed-{self.seed}{fold}"

    def is_at(self, rung: int) -> bool:
        """Return whether it has nothing more to do up to a rung."""
        return rung in self.results or self.status in (FINISHED, FAILED)


@dataclass
class Trial:
    """A point of the search space, with its members in the order of seeds and folds."""

    number: int
    values: Values
    members: list[Member]
    # by path, with named subtrees by their names: see `shown_values.py`
    shown: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def target(self) -> int:
        """The index of the rung up to which its members are to train."""
        return max(member.target for member in self.members)

    @property
    def has_failed(self) -> bool:
        return any(member.status == FAILED for member in self.members)

    def is_at(self, rung: int) -> bool:
        """Return whether no member has anything more to do up to a rung."""
        return all(member.is_at(rung) for member in self.members)

    def objectives(self, rung: int) -> tuple[float, ...] | None:
        """Return the means over its members at a rung; None if one has not reached it, or has failed."""
        results = [member.results.get(rung) for member in self.members]
        known = [result for result in results if result is not None]
        if len(known) < len(self.members) or self.has_failed:
            return None
        return tuple(mean_of(each) for each in zip(*known, strict=True))

    @property
    def reached(self) -> int | None:
        """The highest rung at which its objectives are known; None if there is none."""
        rungs = {rung for member in self.members for rung in member.results}
        return max((rung for rung in rungs if self.objectives(rung) is not None), default=None)


def best_first(trials: Sequence[Trial], objective: Objective, rung: int, index: int = 0) -> list[Trial]:
    """Return the trials whose objective is known at a rung and is no NaN, the best first, equals by their numbers."""
    sign = -1 if objective.is_maximized else 1
    known = [(trial, values[index]) for trial in trials if (values := trial.objectives(rung)) is not None]
    known = [(trial, value) for trial, value in known if not math.isnan(value)]
    return [trial for trial, _ in sorted(known, key=lambda each: (sign * each[1], each[0].number))]
