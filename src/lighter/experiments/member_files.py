"""Read and write the files of members: `EXP/trial-0007-seed-1-fold-2/member.json`.

The coordinator alone writes them, before a member starts and whenever it has learnt something about it. How a member
is now is in no file of ours: it follows from this file and from the record that the fit itself writes (`run.json`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from lighter.errors import RunError
from lighter.experiments.parameters import Parameter
from lighter.experiments.shown_values import shown_values
from lighter.experiments.trials import FAILED, FINISHED, PAUSED, RUNNING, WAITING, Member, Trial
from lighter.files import run_folder as paths
from lighter.files.atomic import read_text, write_whole
from lighter.files.run_folder import MEMBER
from lighter.runs.read import Run, read_run
from lighter.runs.schema import Required, Shape, fault

_FOLDERS = "trial-*-seed-*"
_SHAPE: dict[str, Shape] = {
    "trial": Required(int),
    "seed": Required(int),
    "fold": int,
    "values": Required({"*": object}),
    "target": Required(int),
    "results": Required({"*": ["a number"]}),
    "error": str,
    "attempts": Required(int),
}
# A fit that was stopped or killed has yet to resume, and whether a failed one is started anew is for the coordinator,
# which writes its error here once it is not.
_STATUSES = {RUNNING: RUNNING, PAUSED: PAUSED, FINISHED: FINISHED}


def write_member(folder: Path, member: Member) -> None:
    """Write a member's file into its folder in that of an experiment, which is made if it is not there."""
    home = folder / member.name
    home.mkdir(exist_ok=True)
    facts = {
        "trial": member.trial,
        "seed": member.seed,
        "fold": member.fold,
        "values": dict(member.values),
        "target": member.target,
        "results": {str(rung): [_plain(value) for value in values] for rung, values in member.results.items()},
        "error": member.error,
        "attempts": member.attempts,
    }
    write_whole(home / MEMBER, json.dumps(facts, indent=1) + "\n")


def read_members(folder: Path) -> list[Member]:
    """Read the members of an experiment, in the order of trials, seeds and folds, with their status as of now.

    Raises:
        RunError: a file is damaged, was written by another program, or is missing beside a run's record.
    """
    members = [member for home in folder.glob(_FOLDERS) for member in _read(home)]
    return sorted(members, key=lambda each: (each.trial, each.seed, -1 if each.fold is None else each.fold))


def trials_of(members: Sequence[Member], parameters: Sequence[Parameter] = ()) -> list[Trial]:
    """Return the trials of members that are sorted, as `read_members` sorts them; `parameters` are of the space."""
    groups = [list(group) for _, group in groupby(members, key=lambda member: member.trial)]
    return [
        Trial(first.trial, first.values, [first, *others], shown_values(parameters, first.values))
        for first, *others in groups
    ]


def run_of(folder: Path, member: Member) -> Run | None:
    """Return the run of a member; None if it has not started."""
    return _run_in(folder / member.name)


def _run_in(home: Path) -> Run | None:
    try:
        return read_run(home) if (home / paths.RECORD).is_file() else None
    except RunError:
        if (home / paths.RECORD).exists():
            raise
        return None  # a member that has saved nothing starts anew, and has just removed it


def _read(home: Path) -> Iterator[Member]:
    run = _run_in(home)
    # its folder is made before its file is written, and before the fit starts
    if not home.is_dir() or not ((home / MEMBER).exists() or run):
        return
    member = _parsed(home)
    if member.error is not None:
        member.status = FAILED
    elif run is not None:
        member.status = _STATUSES.get(run.status, WAITING)
    yield member


def _parsed(home: Path) -> Member:
    path = home / MEMBER
    try:
        facts = json.loads(read_text(path))
    except FileNotFoundError:
        raise RunError(f"{home} has a run and no {MEMBER}, so nobody knows which member it is") from None
    except (OSError, ValueError, RecursionError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise RunError(f"{path} cannot be read: {cause}") from error
    wrong = fault(facts, _SHAPE) or _unknown(facts)
    if wrong is not None:
        raise RunError(f"{path} is no file of a member: {wrong}")
    results = {int(rung): tuple(map(float, values)) for rung, values in facts.pop("results").items()}
    member = Member(**{"fold": None, **facts}, results=results)
    if member.name != home.name:
        raise RunError(f"{path} is that of the member {member.name}; has its folder been renamed or copied?")
    return member


def _unknown(facts: Mapping[str, Any]) -> str | None:
    unknown = next((f"`{key}` is unknown" for key in facts if key not in _SHAPE), None)
    no_rung = next((f"`{key}` is no rung" for key in facts["results"] if not key.isdecimal()), None)
    return unknown or no_rung


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else repr(float(value))  # JSON has no NaN and Inf
