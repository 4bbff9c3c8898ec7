"""Resume a prediction that was stopped: its folder, its unchanged config, and its writers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lighter.config import read
from lighter.config.load import Input, load
from lighter.config.problems import Problem, indefinite
from lighter.errors import ConfigError, PredictionError, RunError
from lighter.files import run_folder as paths
from lighter.files.lock import owned
from lighter.files.storage import expanded
from lighter.processes.identity import is_here
from lighter.runs.compare import changed, flat
from lighter.runs.read import RUNNING, read_run

if TYPE_CHECKING:
    import pytorch_lightning as pl

_BELOW_RUNS = 4  # parts of a path: DATE/RUN/checkpoints/FILE
_NOT_COMPARED = ("project", "args")  # which a run adds to its config
_NOT_THERE = object()


@contextmanager
def stopped_prediction(
    stage: str, wanted: str | Path, inputs: Sequence[Input], arguments: Mapping[str, Any]
) -> Iterator[paths.RunFolder]:
    """Find the folder of the run that resumes, and lock it. `last` is the newest with a prediction that was stopped.

    Raises:
        ConfigError: the stage is not `predict`, or the inputs or arguments differ from those of the run.
        PredictionError: there is no such run.
        RunError: another process has it.
    """
    if stage != "predict":
        raise ConfigError([Problem(f"`resume` is for a prediction; the stage is `{stage}`")])
    if arguments.get("ckpt_path") is not None:
        message = "a prediction resumes with the checkpoint that it began with, so `ckpt_path` cannot be given"
        raise ConfigError([Problem(message, hint="Leave --ckpt_path out, or start a new prediction.")])
    path = expanded(wanted)
    if str(wanted) == "last":
        settings = read(inputs).expanded.plain().get("run") or {} if inputs else {}
        root = expanded(settings.get("dir", paths.OUTPUTS))
        stopped = (run.path for run in paths.all_runs(root) if any(run.path.rglob(f"*{paths.PROGRESS}")))
        newest = next(stopped, None)
        if newest is None:
            raise PredictionError(f"no run under {root} has a prediction that was stopped. Name the run's folder")
        path = newest
    folder = paths.go_on_in(path)
    if not folder.config.is_file():
        why = "has no config.yaml" if folder.path.is_dir() else "is not there"
        raise PredictionError(f"{folder.path} is no run's folder: it {why}. Name one, or `last`")
    with owned(folder.path, folder.id):
        # where there are no locks, the record tells of this host; on another one the run may have been killed
        if paths.is_rank_zero() and folder.record.is_file():
            run = read_run(folder.path)
            pid, host = run.facts.get("pid"), run.facts.get("host")
            if run.status == RUNNING and is_here(host) and pid != os.getpid():
                message = f"{run.id} is running (process {pid} on {host}); two processes cannot share its folder"
                raise RunError(message)
        if inputs:
            _refuse_changes(inputs, folder)
        yield folder


def inputs_of(folder: paths.RunFolder) -> list[Input]:
    """Return the config of a prediction that resumes, with its checkpoint where it is now if all runs were moved."""
    # the writers compare it with the one that they began with
    node = load([folder.config]).find("args::predict::ckpt_path")
    noted = str(node.plain()) if node is not None else "://"
    moved = folder.path.absolute().parent.parent / Path(*Path(noted).parts[-_BELOW_RUNS:])
    if "://" in noted or Path(noted).exists() or not moved.is_file():
        return [folder.config]
    return [folder.config, {"args": {"predict": {"ckpt_path": str(moved)}}}]


def prepare_writers(trainer: pl.Trainer, folder: paths.RunFolder) -> None:
    """Have a trainer's writers resume their files.

    Raises:
        PredictionError: none of them has begun.
    """
    from lighter.callbacks.writers.base import writers_of  # which most runs do without

    writers = writers_of(trainer)
    root = Path(trainer.default_root_dir)
    if not any(writer.has_begun(root) for writer in writers):
        reason = "none of its writers has begun" if writers else "it has no writers (lighter.callbacks.CsvWriter, ...)"
        raise PredictionError(f"there is no prediction to resume in {folder.path}: {reason}")
    for writer in writers:
        writer.resume = True


def _refuse_changes(inputs: Sequence[Input], folder: paths.RunFolder) -> None:
    # a prediction whose parts were made by two configs would be of neither
    before, now = (
        flat({key: value for key, value in read(each).merged.plain().items() if key not in _NOT_COMPARED})
        for each in ([folder.config], inputs)
    )
    problems = []
    for path, *values in changed(before, now, _NOT_THERE):
        was, is_now = ("not there" if value is _NOT_THERE else indefinite(value) for value in values)
        message = f"it was {was}, and is {is_now}; a prediction resumes with the config that it began with"
        problems.append(Problem(message, path=path))
    if problems:  # one hint for all of them
        hint = f"Leave the inputs out, or start a new prediction. The run's config is {folder.config}."
        raise ConfigError([*problems[:-1], Problem(problems[-1].message, path=problems[-1].path, hint=hint)])
