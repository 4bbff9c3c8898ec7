"""Read a word of the command line: which runs, which experiment or trial, and under which name.

RUN, EXP               a path, an id, the beginning of one, a name, or `last`: the newest of both
NAME                   of several runs: all of them
EXP/trial-3            a trial of an experiment
RUN,RUN,'2026-11-*'    several runs, by patterns of paths and ids too; a trial is its members
ours=WORD              any of these, under another name
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from lighter.errors import RunError
from lighter.experiments.folder import ExperimentFolder, all_experiments, find_experiment
from lighter.experiments.member_files import run_of
from lighter.experiments.status import read_experiment
from lighter.files import run_folder as paths
from lighter.results.words import is_pattern, joined, matching, trial_in, unnamed
from lighter.runs.read import read_run
from lighter.runs.select import LAST, find_run

Found = TypeVar("Found")


@dataclass(frozen=True)
class Meant:
    """Runs, an experiment or one trial of it, found by a word; and the name that the word gives them."""

    runs: list[paths.RunFolder] = field(default_factory=list)
    experiment: ExperimentFolder | None = None
    trial: int | None = None
    name: str | None = None


def meant_by(word: str, root: Path) -> Meant:
    """Return what a word means.

    Raises:
        RunError: nothing, or a run and an experiment.
    """
    name, rest = unnamed(word)
    if name:
        return replace(meant_by(rest, root), name=name)
    parts = joined(word)
    if parts != [word]:
        return Meant(_several(word, parts, root))
    if is_pattern(word):
        return Meant(sorted(matching(word, root), key=lambda run: paths.age(run.path), reverse=True))
    trial = trial_in(word)
    if trial is not None:
        return Meant(experiment=find_experiment(trial[0], root), trial=trial[1])
    return _single(word, root)


def _several(word: str, parts: Sequence[str], root: Path) -> list[paths.RunFolder]:
    found = [run for part in parts for run in _runs_of(meant_by(part, root), part)]
    if not found:
        raise RunError(f"`{word}` names no run: runs are joined by commas, RUN,RUN")
    return found


def _runs_of(meant: Meant, part: str) -> list[paths.RunFolder]:
    """Return the runs that one of several words means: of a trial, all its members."""
    if meant.experiment is None:
        return meant.runs
    if meant.trial is None:
        raise RunError(f"`{part}` is an experiment. Runs are joined by commas; experiments are words of their own")
    overview = read_experiment(meant.experiment)
    members = [run_of(overview.folder.path, each) for each in overview.members if each.trial == meant.trial]
    return [run.folder for run in members if run is not None]


def _single(word: str, root: Path) -> Meant:
    experiment, no_experiment = _attempt(lambda: find_experiment(word, root))
    runs, no_run = _attempt(lambda: _runs(word, root))
    if experiment is not None and runs and not _are_tests(runs):
        if word != LAST:
            which = f"the run {runs[0].id} and the experiment {experiment.id}"
            raise RunError(f"`{word}` is {which}; write the path of one")
        experiment = None if paths.age(runs[0].path) > paths.age(experiment.path) else experiment
    if experiment is not None:
        return Meant(experiment=experiment)
    if runs:
        return Meant(runs)
    has_runs = next(paths.all_runs(root), None) is not None
    raise (no_run if has_runs or not all_experiments(root) else no_experiment) or RunError(f"nothing is called {word}")


def _runs(word: str, root: Path) -> list[paths.RunFolder]:
    called = [run for run in paths.runs_of(root, word) if word != LAST]
    found = called if len(called) > 1 else [find_run(word, root)]
    # the folder of an experiment is named as that of a run is
    return [run for run in found if run.record.is_file()]


def _are_tests(runs: list[paths.RunFolder]) -> bool:
    """Return whether runs are tests or predictions, which have the names of their fits and experiments."""
    return all(run.record.is_file() and read_run(run.path).facts["stage"] != "fit" for run in runs)


def _attempt(find: Callable[[], Found]) -> tuple[Found | None, RunError | None]:
    try:
        return find(), None
    except RunError as error:
        return None, error
