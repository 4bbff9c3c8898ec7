"""Run an experiment: check its config, make its folder, and let its coordinator run members until all is there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from lighter.config import Config, examine, read
from lighter.config.load import Input, is_override, load, parse_override
from lighter.config.problems import ERROR, Problem, in_order, indefinite, nearest
from lighter.engine.check import check
from lighter.engine.check.experiment import check_experiment
from lighter.engine.claim import RunOptions
from lighter.engine.execution import user_code_importable
from lighter.engine.frozen import frozen
from lighter.errors import ConfigError
from lighter.experiments.coordinator import Coordinator
from lighter.experiments.coordinator_job import note_start, refuse_second
from lighter.experiments.executors import make_executor
from lighter.experiments.executors.local import LocalExecutor
from lighter.experiments.folder import ExperimentFolder, claim, find_experiment
from lighter.experiments.handle import Experiment
from lighter.experiments.screen import Screen
from lighter.experiments.section import Asked
from lighter.files.lock import owned
from lighter.files.run_folder import RunFolder
from lighter.processes.signals import stop_signals
from lighter.runs.compare import changed, flat
from lighter.runs.record import write_config

log = logging.getLogger("lighter")
check_log = logging.getLogger("lighter.check")

_OPTIONS = {
    "objective": "experiment::objective",
    "seeds": "experiment::seeds",
    "folds": "experiment::folds::n",
    "trials": "experiment::search::trials",
    "method": "experiment::search::method",
    "workers": "experiment::executor::workers",
}
Began: TypeAlias = Callable[[ExperimentFolder], object]
_SPACE = "experiment::search::space"
# what may change when an experiment resumes
_MAY_CHANGE = (
    *("experiment::search::trials", "experiment::seeds", "experiment::executor", "experiment::retries"),
    *("experiment::folds::repeats", "launch"),
)


def start(inputs: Sequence[Input], *, began: Began | None = None, **options: Any) -> Experiment:
    """Run a new experiment to its end, and return the handle on its folder.

    Args:
        inputs: as of a fit; an override with a list is a choice.
        began: called with the folder, before members run.
        options: over those of the config: `objective`, `seeds`, `folds`, `trials`, `method`, `workers`.

    Raises:
        ConfigError: the config is wrong, or its section `experiment`.
        Stopped: a signal stopped it, or KeyboardInterrupt.
    """
    saved, asked, where = plan(inputs, **options)
    folder = claim(where.root, where.name)
    try:
        with owned(folder.path, folder.id):
            write_config(saved, RunFolder(folder.path))
            return _run(folder, asked, began)
    except ConfigError:
        RunFolder(folder.path).abandon()  # unless it has members
        raise


def plan(inputs: Sequence[Input], **options: Any) -> tuple[dict[str, Any], Asked, RunOptions]:
    """Return the config of a new experiment as it is written, what it asks for, and where its folder is to be.

    Raises:
        ConfigError: the config is wrong, or its section `experiment`.
    """
    unknown = next((name for name in options if name not in _OPTIONS), None)
    if unknown is not None:
        raise TypeError(f"an experiment has no option `{unknown}`. {nearest(unknown, _OPTIONS)}")
    words = _with_choices(inputs)
    words += [f"{_OPTIONS[name]}={value}" for name, value in options.items() if value is not None]
    config, asked, project = checked_experiment(words)
    return frozen(config, project, "members"), asked, RunOptions.of(config, words)


def resume(wanted: str | Path, root: Path, changes: Sequence[str] = (), *, began: Began | None = None) -> Experiment:
    """Run what is left of an experiment, and what is asked for beyond it.

    Args:
        changes: overrides of its section: `experiment::search::trials=100`.
        began: called with the folder, before members run.

    Raises:
        RunError: there is no such experiment, or another process has it.
        ConfigError: the changes are wrong, or not only more trials, seeds or folds.
    """
    with prepared(wanted, root, changes) as (folder, asked):
        return _run(folder, asked, began)


@contextmanager
def prepared(
    wanted: str | Path, root: Path, changes: Sequence[str], *, writes: bool = True
) -> Iterator[tuple[ExperimentFolder, Asked]]:
    """Lock an experiment, and write what is asked for now into its folder: see `resume`.

    Args:
        writes: change nothing in the folder if not.
    """
    folder = find_experiment(str(wanted), root)
    with owned(folder.path, folder.id):
        refuse_second(folder.path)
        if writes:
            folder.stop.unlink(missing_ok=True)  # first: the check takes seconds, in which another may be asked for
        before = read([folder.config])
        config, asked, project = checked_experiment([folder.config, *changes])
        _refuse_changes(before, config)
        saved = frozen(config, project, "members")
        if writes:
            write_config(saved, RunFolder(folder.path))
            note_start(folder.path)
        yield folder, asked


def _with_choices(inputs: Sequence[Input]) -> list[Input]:
    """Return inputs whose overrides with a list or a range are parts of the search space."""
    choices = [word for word in inputs if isinstance(word, str) and _is_choice(word)]
    if not choices:
        return list(inputs)
    others = [word for word in inputs if word not in choices]
    merged = load(others)
    for word in choices:
        path = f"{_SPACE}::{word.partition('=')[0]}"
        # What the file has there is replaced; a list would be added to its own.
        others.append(f"{'=' if merged.find(path) is not None else ''}{_SPACE}::{word}")
    return others


def _is_choice(word: str) -> bool:
    if not is_override(word) or word.startswith(("=", "~", "experiment::")):
        return False
    override = parse_override(word, [])
    value = override.value.value if override is not None else None
    return isinstance(value, list) or (isinstance(value, dict) and ({"from", "to"} <= {*value} or "choose" in value))


def checked_experiment(inputs: Sequence[Input]) -> tuple[Config, Asked, Path | None]:
    """Read and check a config, as for a fit, and its section; raise a `ConfigError` with all mistakes."""
    config, problems = examine(inputs)
    if config is None:
        raise ConfigError(in_order(problems))
    if config.safe is not None:
        raise ConfigError([Problem("an untrusted config is not searched: one from a URL runs in safe mode only")])
    with user_code_importable(config, problems) as project:
        context = check(config, "fit")
        asked, of_section = check_experiment(config, context)
    found = in_order([*problems, *context.problems, *of_section])
    if asked is None or any(problem.severity == ERROR for problem in found):
        raise ConfigError(in_order([*found, *context.failures]))
    for warning in found:
        check_log.warning("%s", warning)
    return config, asked, project


def _refuse_changes(before: Config, after: Config) -> None:
    """Refuse changes by which the members that are there would be those of another experiment."""
    one, other = (flat(config.merged.plain()) for config in (before, after))
    problems = []
    for path, was, now in changed(one, other):
        if not path.startswith(_MAY_CHANGE) and was != now:
            node = after.merged.find(path)
            message = f"the members that are there have {indefinite(was)} here; this experiment goes on as it began"
            hint = "More trials, seeds or repeats may be asked for, and another executor. Otherwise: lighter sweep"
            problems.append(Problem(message, node.origin if node else None, path, hint))
    if problems:
        raise ConfigError(problems)


def _run(folder: ExperimentFolder, asked: Asked, began: Began | None) -> Experiment:
    if began is not None:
        began(folder)
    with stop_signals() as caught, caught.deferred(lambda: True):
        executor = make_executor(asked.executor, folder.path)
        # of SLURM and Ray, only the section says how many
        workers = executor.workers if isinstance(executor, LocalExecutor) else asked.executor.workers
        with executor, Screen(folder, asked, workers) as screen:
            coordinator = Coordinator(
                folder,
                asked,
                executor,
                tell=screen.ended,
                watch=lambda now: screen.update([*now.trials.values()], now.progress()),
                is_stopped=lambda: caught.received is not None or folder.stop.exists(),
            )
            is_whole = coordinator.run()
        if not is_whole:
            folder.stop.unlink(missing_ok=True)
            log.warning("stopped; to go on: lighter experiment resume %s", folder.path)
        caught.raise_again()
    return Experiment(folder.path)
