"""Sides of a comparison: from words of the command line to runs, experiments and trials.

A word is

    RUN, EXP                    as `lighter runs` and `lighter experiment` find them; of an experiment, its best trial
    EXP/trial-3                 a trial of an experiment
    RUN,RUN,RUN                 several runs of one config with different seeds or folds; a trial is its members
    '2026-11-22/*-fast'         the same by a pattern; a name that several runs have stands for all of them
    ours=WORD                   any of these, under another name
    ours=WORD+WORD              a side over several tasks, each of which is any of these
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lighter.config.problems import closest
from lighter.errors import RunError
from lighter.experiments.folder import ExperimentFolder, all_experiments, find_experiment, is_experiment
from lighter.experiments.member_files import run_of
from lighter.experiments.results import Result, flat_values, varied
from lighter.experiments.schedule import PROGRESS
from lighter.experiments.status import Overview, no_result, read_experiment
from lighter.experiments.tables import labels, shown_value
from lighter.experiments.trials import FAILED
from lighter.files import run_folder as paths
from lighter.files.atomic import read_text
from lighter.files.storage import expanded
from lighter.results.words import is_path, is_pattern, joined, matching, trial_in, unnamed
from lighter.runs.read import FINISHED, PAUSED, Run, read_run
from lighter.runs.select import LAST, find_run


@dataclass(frozen=True)
class SideRun:
    """A run as a member of a side: its seed and its fold, by which it is paired with one of the other side.

    Attributes:
        is_further: True if it has trained past the rung at which its trial is: after a promotion that was stopped, or
            since somebody resumed it alone.
    """

    run: Run
    seed: int | None
    fold: int | None = None
    is_further: bool = False

    @property
    def key(self) -> tuple[int | None, int | None]:
        return self.seed, self.fold

    @property
    def label(self) -> str:
        """Its seed and fold as a sentence names them."""
        fold = f", fold {self.fold}" if self.fold is not None else ""
        return f"seed {self.seed}{fold}"


@dataclass(frozen=True)
class Side:
    """One side of a comparison: runs of one config with different seeds and folds.

    Attributes:
        name: what tables and sentences call it.
        runs: those with results, in the order of seeds and folds.
        left_out: a line for each run that has none, with the reason: it failed, or has not ended.
        experiment: the folder of the experiment that they are of; None for other runs.
        trial: the number of the trial within that.
        trials: how many trials the experiment has: the budget of its search.
        is_chosen: True for a trial that was chosen among those by its results.
        objective: the metric of the experiment's first objective, and whether it is maximized.
        not_compared: a line for each trial of the experiment that is no side, since it failed or diverged.
    """

    name: str
    runs: tuple[SideRun, ...]
    left_out: tuple[str, ...] = ()
    experiment: Path | None = None
    trial: int | None = None
    trials: int = 1
    is_chosen: bool = False
    objective: tuple[str, bool] | None = None
    not_compared: tuple[str, ...] = ()


def sides_of(words: Sequence[str], root: Path, stage: str = "fit") -> list[Side]:
    """Return the sides that words mean: of a single experiment, all trials that came as far as its best one.

    Args:
        stage: the stage of the runs that are meant by a name, as a test has the name of its fit.

    Raises:
        RunError: a word means nothing, or too much; or there is a single side.
    """
    if len(words) == 1 and (experiment := _experiment(unnamed(words[0])[1], root)) is not None:
        return trial_sides(read_experiment(experiment))
    sides = [side_of(word, root, stage) for word in words]
    if len(sides) < 2:
        named = f"`{words[0]}` is one side" if words else "nothing was named"
        raise RunError(f"{named}; a comparison has at least two: lighter compare A B, or an experiment with trials")
    refuse_equal_names([unnamed(word)[0] for word in words], [side.name for side in sides])
    return distinct(sides)


def refuse_equal_names(given: Iterable[str], names: Sequence[str]) -> None:
    """Raise `RunError` if a name that was given is that of another side too."""
    twice = next((name for name in given if name and names.count(name) > 1), None)
    if twice is not None:
        raise RunError(f"`{twice}` is the name of {names.count(twice)} sides; give each another one: NAME=SIDE")


def trial_sides(overview: Overview) -> list[Side]:
    """Return the trials of an experiment as sides, the best first: those that came as far as that.

    Raises:
        RunError: there are less than two.
    """
    same = comparable(overview)
    if len(same) < 2:
        raise RunError(
            f"{overview.folder.id} has {len(same)} trial{'s' * (len(same) != 1)} with a result at its highest rung, so"
            " nothing to compare within it. Two experiments are compared by: lighter compare EXP1 EXP2"
        )
    paths_of_values = varied([each.trial for each in same])
    names = labels(paths_of_values)

    def name(result: Result) -> str:
        flat = flat_values(result.trial)
        shown = [f"{names[path]}={shown_value(path, flat[path])}" for path in paths_of_values if path in flat]
        return f"trial {result.trial.number}" + (f": {' '.join(shown)}" if shown else "")

    lacking = tuple(f"trial {each.trial.number} ({why})" for each in overview.results if (why := _why_no_side(each)))
    return [replace(_of_trial(overview, each, name(each)), not_compared=lacking) for each in same]


def comparable(overview: Overview) -> list[Result]:
    """Return the trials of an experiment that came as far as its best one, those that diverged left out."""
    known = [each for each in overview.results if each.is_known and _is_finite(each)]
    return [each for each in known if each.rung == known[0].rung]


def _is_finite(result: Result) -> bool:
    return all(math.isfinite(each.mean) for each in result.estimates)


def _why_no_side(result: Result) -> str:
    """Return why a trial never becomes a side; an empty text if it is one, or has yet to come so far."""
    return str(result.estimates[0]) if not _is_finite(result) else FAILED if result.status == FAILED else ""


def distinct(sides: Sequence[Side]) -> list[Side]:
    """Return sides whose names tell them apart: by their experiments' ids, or a number at their end."""
    names = [side.name for side in sides]
    full = [side.name if names.count(side.name) == 1 else _full_name(side) for side in sides]
    numbered = [
        f"{name} ({full[: at + 1].count(name)})" if full.count(name) > 1 else name for at, name in enumerate(full)
    ]
    return [replace(side, name=name) for side, name in zip(sides, numbered, strict=True)]


def _full_name(side: Side) -> str:
    if side.experiment is None:
        return side.runs[0].run.id if len(side.runs) == 1 else side.name
    identity = ExperimentFolder(side.experiment).id
    return identity if side.is_chosen else f"{identity}/trial-{side.trial}"


def task_words(word: str) -> tuple[str, list[str]]:
    """Return the name of a side, and the word of each of its tasks: of `ours=a+b`, `ours` with `a` and `b`."""
    name, word = unnamed(word)
    parts = [word] if is_path(word) else [part for part in word.split("+") if part]
    return name or word, parts


def side_of(word: str, root: Path, stage: str) -> Side:
    """Return the side that a word means; see `sides_of`."""
    name, word = unnamed(word)
    side = _of_word(word, root, stage)
    return replace(side, name=name) if name else side


def _of_word(word: str, root: Path, stage: str) -> Side:
    if joined(word) != [word] or is_pattern(word):
        return _of_runs(word, _several(word, root), stage)
    if trial_in(word) is not None:
        return _trial(word, root)
    experiment = _experiment(word, root)
    if experiment is not None:
        return _best(read_experiment(experiment))
    of_name = _called(word, root)
    folders = of_name if len(of_name) > 1 else [_found(word, root)]
    return _of_runs(word, folders, stage)


def _trial(word: str, root: Path) -> Side:
    name, number = trial_in(word) or (word, 0)
    experiment = _experiment(name, root)
    if experiment is None:
        raise RunError(f"`{name}` of `{word}` is no experiment under {root}")
    return _numbered(read_experiment(experiment), number)


def _found(word: str, root: Path) -> paths.RunFolder:
    """Return the run that a word means.

    Raises:
        RunError: there is none; the message tells what there is, if that is no runs but experiments.
    """
    try:
        return find_run(word, root)
    except RunError:
        runs, experiments = list(paths.all_runs(root)), all_experiments(root)
        near = closest(word, [name for each in experiments for name in (each.id, paths.name_of(each.path))])
        is_a_run = any(_begins(run, word) or paths.is_called(run.path, word) for run in runs)  # or several
        if not experiments or is_a_run or (runs and not near):
            raise
        hint = near or f"The newest is {experiments[0].id}"
        raise RunError(f"no run or experiment under {root} is called `{word}`. {hint}") from None


def _experiment(word: str, root: Path) -> ExperimentFolder | None:
    """Return the experiment that a word means; None if it means a run, or nothing.

    Raises:
        RunError: it means an experiment and a run, or several experiments.
    """
    path = expanded(word)
    if word and (path / paths.RECORD).is_file():
        return None
    if word and is_experiment(path):
        return ExperimentFolder(path)
    experiments = all_experiments(root)
    if word == LAST:  # of runs, where there is no experiment
        return experiments[0] if experiments else None
    # what is written in full is meant in full
    for means in (_is_in_full, _begins):
        found = [each for each in experiments if means(each, word)]
        fits = [run for run in paths.all_runs(root) if means(run, word) and _is_fit(run, word)] if found else []
        if fits:
            raise RunError(f"`{word}` is an experiment, {found[0].id}, and a run, {fits[0].id}; write the path of one")
        if found or any(means(run, word) for run in paths.all_runs(root)):
            return (found[0] if len(found) == 1 else find_experiment(word, root)) if found else None
    return None


def _is_in_full(folder: ExperimentFolder | paths.RunFolder, text: str) -> bool:
    return text in (folder.id, folder.path.name) or paths.is_called(folder.path, text)


def _begins(folder: ExperimentFolder | paths.RunFolder, text: str) -> bool:
    return bool(text) and (folder.id.startswith(text) or folder.path.name.startswith(text))


def _is_fit(run: paths.RunFolder, word: str) -> bool:
    """Return False of a run that has only the name in common with an experiment, as a test of a member has."""
    return not paths.is_called(run.path, word) or read_run(run.path).facts["stage"] == "fit"


def _called(word: str, root: Path) -> list[paths.RunFolder]:
    """Return the runs of a name, the newest first."""
    return [each for each in paths.all_runs(root) if word != LAST and paths.is_called(each.path, word)]


def _several(word: str, root: Path) -> list[paths.RunFolder]:
    folders: dict[Path, paths.RunFolder] = {}
    for part in joined(word):
        for folder in _folders(part, root):
            folders.setdefault(folder.path.resolve(), folder)
    if not folders:
        raise RunError(f"`{word}` names no run: runs are joined by commas, RUN,RUN")
    return list(folders.values())


def _folders(part: str, root: Path) -> list[paths.RunFolder]:
    """Return the runs of one of several words that commas join: of a trial, all its members."""
    if is_pattern(part):
        return matching(part, root)
    if trial_in(part) is not None:
        return [each.run.folder for each in _trial(part, root).runs]
    if _experiment(part, root) is not None:
        raise RunError(f"`{part}` is an experiment. Runs are joined by commas, experiments as tasks: NAME=A+B")
    return [_found(part, root)]


def _of_runs(name: str, folders: Sequence[paths.RunFolder], stage: str) -> Side:
    runs = [read_run(folder.path) for folder in folders]
    if any(run.facts["stage"] == stage for run in runs):
        runs = [run for run in runs if run.facts["stage"] == stage]
    reasons = {run.id: reason_against(run) for run in runs}
    having = [run for run in runs if not reasons[run.id]]
    left_out = tuple(f"{name}: {reason}" for name, reason in reasons.items() if reason)
    if not having:
        raise RunError(f"no run of `{name}` has finished: {', '.join(left_out)}")
    if len(folders) == 1:
        name = having[0].id
    return Side(name, _sorted(SideRun(run, _seed(run), _fold(run)) for run in having), left_out)


def reason_against(run: Run) -> str:
    """Return why a run has no result that counts; an empty text if it has one."""
    if run.status != FINISHED:
        return run.status
    return "fast_dev_run" if (run.facts.get("trainer") or {}).get("fast_dev_run") else ""


def _best(overview: Overview) -> Side:
    if not overview.best:
        raise no_result(overview)
    name = paths.name_of(overview.folder.path)
    return replace(_of_trial(overview, overview.best[0], name), is_chosen=len(overview.trials) > 1)


def _numbered(overview: Overview, number: int) -> Side:
    result = next((each for each in overview.results if each.trial.number == number), None)
    if result is None:
        raise RunError(f"there is no trial {number} in {overview.folder.id}, which has {len(overview.trials)}")
    return _of_trial(overview, result, f"{paths.name_of(overview.folder.path)}/trial-{number}")


def _of_trial(overview: Overview, result: Result, name: str) -> Side:
    folder, objective = overview.folder.path, overview.facts.objectives[0]
    runs, left_out = [], []
    for member in result.trial.members:
        run = run_of(folder, member)
        if run is not None and run.status in (FINISHED, PAUSED) and member.status != FAILED:
            runs.append(SideRun(run, member.seed, member.fold, _is_past(run, overview, result.rung)))
        else:
            left_out.append(f"{member.name}: {member.status}")
    if not runs:
        raise RunError(f"trial {result.trial.number} of {overview.folder.id} has no result: {', '.join(left_out)}")
    return Side(
        name,
        _sorted(runs),
        tuple(left_out),
        folder,
        result.trial.number,
        len(overview.trials),
        objective=(objective.metric, objective.is_maximized),
    )


def _is_past(run: Run, overview: Overview, rung: int | None) -> bool:
    pause = overview.facts.schedule.pause(rung) if rung is not None else None
    counter = PROGRESS.get(pause[0]) if pause is not None else None
    progress = (run.facts.get("progress") or {}).get(counter) if counter is not None else None
    return pause is not None and isinstance(progress, int) and progress > pause[1]


def _sorted(runs: Iterable[SideRun]) -> tuple[SideRun, ...]:
    return tuple(sorted(runs, key=lambda each: tuple(-1 if part is None else part for part in each.key)))


def _seed(run: Run) -> int | None:
    seed = run.facts.get("seed")
    return seed if isinstance(seed, int) else None


def _fold(run: Run) -> int | None:
    """Return the fold of a run, as its experiment noted it or, of a run of its own, its split."""
    fold = (run.facts.get("split") or {}).get("fold")
    with suppress(OSError, ValueError, AttributeError):
        fold = json.loads(read_text(run.folder.path / paths.MEMBER)).get("fold", fold)
    return fold if isinstance(fold, int) else None
