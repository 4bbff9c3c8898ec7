"""Run an experiment for a command, and tell at its end which members failed, and why."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lighter.cli.json_errors import MEMBER, entry
from lighter.cli.json_output import give, note_all
from lighter.cli.stage import exit_code
from lighter.errors import RunError

if TYPE_CHECKING:
    from lighter.engine.experiment import Began
    from lighter.experiments.failures import Failure
    from lighter.experiments.folder import ExperimentFolder
    from lighter.experiments.handle import Experiment

ALL_FAILED = 1
_MOST = 8


def run_experiment(run: Callable[[Began], Experiment], *, traceback: bool = False, command: str = "") -> int:
    """Run an experiment, print why members failed, and return the exit code: 1 if all of them did.

    Its status is given as the JSON of `command`, if that is named, also where a signal has stopped it.
    """
    folders: list[ExperimentFolder] = []
    code = failed = 0

    def action() -> None:
        run(folders.append)

    try:
        code = exit_code(action, traceback=traceback, about="experiment")
    finally:
        # gone if it could not begin
        if folders and folders[0].config.is_file():
            failed = _end(folders[0], command)
    return code or failed


def _end(folder: ExperimentFolder, command: str) -> int:
    from lighter.experiments.handle import Experiment

    try:
        if command:
            _give(command, folder)
        return _show(Experiment(folder.path))
    except RunError:  # a file in it is damaged; that has been told, as it could not be run either
        return 0


def _give(command: str, folder: ExperimentFolder) -> None:
    from lighter.cli.experiment_tables import status_data
    from lighter.experiments.status import read_experiment

    data = status_data(read_experiment(folder))
    give(f"{command}/1", {**data, "exit_code": 0, "errors": []})


def _show(experiment: Experiment) -> int:
    from lighter.experiments.executors.base import ERROR
    from lighter.experiments.failures import failures

    members, found = experiment.members, failures(experiment.members)
    failed = sum(len(each.members) for each in found)
    if not found:
        return 0
    note_all([entry(MEMBER, each.text, file=each.file(experiment.path), members=_members(each)) for each in found])
    print(f"\n{failed} of {len(members)} members failed.", file=sys.stderr)
    for each in found[:_MOST]:
        is_whole = failed == len(members)
        print(_whole(each, experiment.path) if is_whole else _brief(each, experiment.path), file=sys.stderr)
    if len(found) > _MOST:
        print(f"\n{len(found) - _MOST} more errors: {experiment.path / 'trial-*' / ERROR}", file=sys.stderr)
    return ALL_FAILED if failed == len(members) else 0


def _whole(failure: Failure, experiment: Path) -> str:
    return f"\n{_names(failure)}, {failure.file(experiment)}:\n\n{failure.text}"


def _brief(failure: Failure, experiment: Path) -> str:
    from lighter.experiments.failures import first_line

    return f"  {_names(failure)}: {first_line(failure.text)}\n    {failure.file(experiment)}"


def _members(failure: Failure) -> list[str]:
    return [member.name for member in failure.members]


def _names(failure: Failure) -> str:
    first, *others = failure.members
    return f"{first.name} and {len(others)} more" if others else first.name
