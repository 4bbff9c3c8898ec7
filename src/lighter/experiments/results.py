"""Results of an experiment: each trial's mean and interval over its members, the best first, and the best of all.

Trials are compared where they are: those at a higher rung before those at a lower one. With several objectives, the
best are the Pareto front: trials that no other one beats in one objective and equals or beats in all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lighter.experiments.intervals import Estimate, estimate
from lighter.experiments.member_files import run_of
from lighter.experiments.shown_values import shown_values
from lighter.experiments.trials import FAILED, FINISHED, PAUSED, RUNNING, WAITING, Member, Objective, Trial

Row = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """The standing of a trial: how far it is, and its objectives there.

    Attributes:
        rung: the index of the highest rung that all its members were to reach and have; None if there is none.
        estimates: of the objectives at that rung, in their order; empty without one.
        status: `running`, `waiting`, `paused`, `finished` or `failed`.
    """

    trial: Trial
    rung: int | None
    estimates: tuple[Estimate, ...]
    status: str

    @property
    def is_known(self) -> bool:
        """True if it can be compared: it has objectives, none of which is NaN."""
        return bool(self.estimates) and not any(math.isnan(each.mean) for each in self.estimates)


def results(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[Result]:
    """Return the results of all trials, the best first, those of which nothing is known last."""
    known = [_result(trial) for trial in trials]
    front: set[int] = set()
    if len(objectives) > 1:
        for rung in {each.rung for each in known}:
            front |= {id(each) for each in _front([one for one in known if one.rung == rung], objectives)}

    def place(result: Result) -> tuple[bool, int, bool, tuple[float, ...], int]:
        losses = _losses(result, objectives) if result.is_known else ()
        return not result.is_known, -(result.rung or 0), id(result) not in front, losses, result.trial.number

    return sorted(known, key=place)


def best(ranked: Sequence[Result], objectives: Sequence[Objective]) -> list[Result]:
    """Return the best of sorted results: one, or the Pareto front of several objectives; none if nothing is known."""
    known = [result for result in ranked if result.is_known]
    if not known or not objectives:
        return []
    highest = [result for result in known if result.rung == known[0].rung]
    return highest[:1] if len(objectives) == 1 else _front(highest, objectives)


def flat_values(trial: Trial) -> Row:
    """Return the values of a trial by the paths of their leaves: of a subtree its name, or those inside it."""
    return dict(trial.shown or shown_values((), trial.values))


def varied(trials: Sequence[Trial]) -> list[str]:
    """Return the paths whose values are not the same in all trials, in the order in which they are there."""
    values, absent = [flat_values(trial) for trial in trials], object()

    def is_varied(path: str) -> bool:
        first, *others = (each.get(path, absent) for each in values)
        return any(other != first or type(other) is not type(first) for other in others)

    return [path for path in dict.fromkeys(path for each in values for path in each) if is_varied(path)]


def representative(result: Result, objective: Objective) -> Member:
    """Return the member of a trial with the best objective: the one to test, where one is to be taken."""
    sign = -1 if objective.is_maximized else 1

    def place(member: Member) -> tuple[bool, float]:
        values = member.results.get(-1 if result.rung is None else result.rung, (math.nan,))
        return math.isnan(values[0]), sign * values[0]

    return min(result.trial.members, key=place)


def public(result: Result, objectives: Sequence[Objective]) -> Row:
    """Return a result as data for programs."""
    estimates = zip(objectives, result.estimates, strict=False)
    return {
        "trial": result.trial.number,
        "status": result.status,
        "rung": result.rung,
        "values": dict(result.trial.values),
        "objectives": {
            objective.metric: {
                "mean": finite_or_text(each.mean),
                "half_width": each.half_width,
                "members": each.count,
            }
            for objective, each in estimates
        },
        "members": [member.name for member in result.trial.members],
    }


def finite_or_text(value: float) -> float | str:
    """Return a number as JSON has it, which knows no NaN and Inf."""
    return value if math.isfinite(value) else repr(value)


def rows_of_members(folder: Path, members: Sequence[Member]) -> Iterator[Row]:
    """Yield a row for each member: trial, seed, fold, status, the values by their paths, and its last metrics."""
    for member in members:
        run = run_of(folder, member)
        head = {"trial": member.trial, "seed": member.seed, "fold": member.fold, "status": member.status}
        yield {**head, **member.values, **(run.metrics if run is not None else {})}


def status_of(trial: Trial) -> str:
    """Return the status of a trial: what is worth most attention of those of its members."""
    statuses = {member.status for member in trial.members}
    if any(member.status == PAUSED and not member.is_at(trial.target) for member in trial.members):
        statuses.add(WAITING)  # to resume, after a promotion
    return next((status for status in (FAILED, RUNNING, WAITING, PAUSED) if status in statuses), FINISHED)


def _result(trial: Trial) -> Result:
    reached = trial.reached
    # A fit that ended early has results at all rungs, and competes where it was promoted to.
    rung = min(reached, trial.target) if reached is not None else None
    while rung is not None and trial.objectives(rung) is None:
        rung = rung - 1 if rung else None
    members = [] if rung is None else [member.results[rung] for member in trial.members]
    return Result(trial, rung, tuple(estimate(each) for each in zip(*members, strict=True)), status_of(trial))


def _losses(result: Result, objectives: Sequence[Objective]) -> tuple[float, ...]:
    pairs = zip(objectives, result.estimates, strict=False)
    return tuple(-each.mean if objective.is_maximized else each.mean for objective, each in pairs)


def _front(candidates: Sequence[Result], objectives: Sequence[Objective]) -> list[Result]:
    """Return those that no other one dominates: is as good in all objectives, and better in one."""
    known = [(_losses(result, objectives), result) for result in candidates if result.is_known]
    front: list[tuple[tuple[float, ...], Result]] = []
    # None dominates one that is sorted before it, and what dominates a trial is dominated by one of the front at most.
    for losses, result in sorted(known, key=lambda each: (each[0], each[1].trial.number)):
        if not any(_dominates(other, losses) for other, _ in front):
            front.append((losses, result))
    return [result for _, result in front]


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(left <= right for left, right in zip(one, other, strict=True))
