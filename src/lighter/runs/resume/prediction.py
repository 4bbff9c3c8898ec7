"""Which prediction goes on: its folder, and that nothing about it is to be another."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lighter.config import read
from lighter.config.load import Input, load
from lighter.config.problems import Problem, indefinite
from lighter.errors import ConfigError, PredictionError, RunError
from lighter.files import run_folder as paths
from lighter.files.lock import owned
from lighter.processes.identity import is_here
from lighter.runs.read import RUNNING, read_run

_BELOW_RUNS = 4  # parts of a path: DATE/RUN/checkpoints/FILE
_NOT_COMPARED = ("project", "args")  # what a run adds to its config


@contextmanager
def stopped_prediction(
    stage: str, wanted: str | Path, inputs: Sequence[Input], arguments: Mapping[str, Any]
) -> Iterator[paths.RunFolder]:
    """The folder of the run that goes on, into which nobody else may write for as long as this lasts.

    Args:
        stage: what is to be run.
        wanted: the folder, or `last`: of the newest run with a prediction that was stopped.
        inputs: none, or those of the run.
        arguments: for the trainer's method.

    Raises:
        ConfigError: the stage is not `predict`, or the inputs or arguments differ from those of the run.
        PredictionError: there is no such run.
        RunError: another process has it.
    """
    if stage != "predict":
        raise ConfigError([Problem(f"`resume` goes on with a prediction; the stage is `{stage}`")])
    if arguments.get("ckpt_path") is not None:
        message = "a prediction goes on with the checkpoint that it began with, so `ckpt_path` cannot be given"
        raise ConfigError([Problem(message, hint="Leave --ckpt_path out, or start a new prediction.")])
    folder = paths.go_on_in(_newest(inputs) if str(wanted) == "last" else Path(wanted).expanduser())
    if not folder.config.is_file():
        found = "has no config.yaml" if folder.path.is_dir() else "is not there"
        raise PredictionError(f"{folder.path} is no run's folder: it {found}. Name one, or `last`")
    with owned(folder.path, folder.id):
        if paths.is_rank_zero() and folder.record.is_file():
            _refuse_running(folder)
        if inputs:
            _compare(inputs, folder)
        yield folder


def inputs_of(folder: paths.RunFolder) -> list[Input]:
    """The config of a prediction that goes on, with its checkpoint where it is now, should all runs have been moved.

    The writers see that it is the one that they began with.
    """
    node = load([folder.config]).find("args::predict::ckpt_path")
    noted = str(node.plain()) if node is not None else "://"
    moved = folder.path.absolute().parent.parent / Path(*Path(noted).parts[-_BELOW_RUNS:])
    if "://" in noted or Path(noted).exists() or not moved.is_file():
        return [folder.config]
    return [folder.config, {"args": {"predict": {"ckpt_path": str(moved)}}}]


def _refuse_running(folder: paths.RunFolder) -> None:
    """Where there are no locks, the record tells. What ran on another host may have been killed there."""
    run = read_run(folder.path)
    pid, host = run.facts.get("pid"), run.facts.get("host")
    if run.status == RUNNING and is_here(host) and pid != os.getpid():
        raise RunError(f"{run.id} is running (process {pid} on {host}); two processes cannot share its folder")


def _newest(inputs: Sequence[Input]) -> Path:
    run = read(inputs).expanded.plain().get("run") or {} if inputs else {}
    root = Path(run.get("dir", paths.OUTPUTS)).expanduser()
    found = next(paths.unfinished(root), None)
    if found is None:
        raise PredictionError(f"no run under {root} has a prediction that was stopped. Name the run's folder")
    return found.path


def _compare(inputs: Sequence[Input], folder: paths.RunFolder) -> None:
    """A prediction whose parts were made by two configs would be of neither."""
    before, now = (
        {key: value for key, value in read(given).merged.plain().items() if key not in _NOT_COMPARED}
        for given in ([folder.config], inputs)
    )
    problems = [
        Problem(f"it was {was}, and is {now}; a prediction goes on with the config that it began with", path=path)
        for path, was, now in _differences(before, now)
    ]
    if problems:
        hint = f"Leave the inputs out, or start a new prediction. The run's config is {folder.config}."
        raise ConfigError([*problems[:-1], Problem(problems[-1].message, path=problems[-1].path, hint=hint)])


def _differences(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            inner = f"{path}::{key}" if path else str(key)
            if key in before and key in now:
                yield from _differences(before[key], now[key], inner)
            else:
                was, is_now = ("not there" if key not in side else indefinite(side[key]) for side in (before, now))
                yield inner, was, is_now
    elif before != now:
        yield path, indefinite(before), indefinite(now)
