"""Verdicts of a page: the better group of runs, and how sure that is, by `lighter.results.comparison`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lighter.errors import LighterError
from lighter.experiments.intervals import Estimate
from lighter.results.comparison import compare
from lighter.results.report.groups import Group
from lighter.results.report.subject import Entry, Subject
from lighter.results.sides import Side, SideRun, comparable, reason_against, sides_of, trial_sides

_MOST_SIDES = 12


def verdict(subject: Subject, groups: Sequence[Group], metric: str) -> dict[str, Any] | None:
    """Return the comparison of a page's sides, or why there is none; None where nobody named sides to compare.

    The sides are the trials of an experiment that is alone on the page; otherwise what the words name, as `lighter
    compare` takes them; and where these are single runs alone, the groups of their configs.
    """
    if subject.all_under is not None:
        return None
    try:
        named, notes = _sides(subject, groups, metric)
        if len(named) < 2:
            return {"refused": " ".join(notes)} if notes else None
        found = compare(named, metric).public()
    except LighterError as error:
        return {"refused": str(error)}
    if len(named) > _MOST_SIDES:
        # all were compared, and are corrected for
        found["sides"] = found["sides"][:_MOST_SIDES]
        notes.append(f"Shown are the best {_MOST_SIDES} of {len(named)} sides.")
    sides = [{**side, "text": _mean(side)} for side in found["sides"]]
    return {**found, "sides": sides, "notes": [*found["notes"], *notes]}


def _mean(side: Mapping[str, Any]) -> str:
    """Return the mean and its interval, in as many digits as everywhere else."""
    return str(Estimate(side["mean"], side["half_width"], len(side["values"])))


def _sides(subject: Subject, groups: Sequence[Group], metric: str) -> tuple[list[Side], list[str]]:
    """Return the sides, and a note for each group that is none."""
    entries = subject.entries
    if subject.words is not None and len(subject.words[0]) > 1:
        return list(sides_of(*subject.words)), []
    if len(subject.experiments) == 1 and all(entry.experiment for entry in entries):
        overview = subject.experiments[0]
        return list(trial_sides(overview)) if len(comparable(overview)) > 1 else [], []
    if len(groups) < 2:
        return [], []
    found = [_side(group, entries) for group in groups]
    # what no member has, as a test has no value of its fit, is not missing
    named = [side for side in found if any(metric in each.run.metrics for each in side.runs)]
    return named, [
        f"`{side.name}` is not in it, as none of its runs has finished: {'; '.join(side.left_out)}."
        for side in found
        if not side.runs
    ]


def _side(group: Group, entries: Sequence[Entry]) -> Side:
    """Return a group as a side of all members that finished, whatever came out: one that diverged counts too."""
    members = [entries[number] for number in group.members]
    reasons = [reason_against(each.run) for each in members]
    left_out = tuple(f"{each.run.id}: {why}" for each, why in zip(members, reasons, strict=True) if why)
    having = [each for each, why in zip(members, reasons, strict=True) if not why]
    return Side(group.label, tuple(SideRun(each.run, each.seed, each.fold) for each in having), left_out)
