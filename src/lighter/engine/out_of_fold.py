"""Predictions of an experiment with folds: of each sample by the model that has not seen it, or by all models.

EXP/predictions/                a new folder for each time: predictions.2, ...
    predictions.csv             the rows of all folds, in the order of the dataset, with columns `index` and `fold`;
                                of several seeds or repeats, the mean
    seed-1/predictions.csv      those of a seed; `seed-1-repeat-0` with repeated folds
    runs/                       the runs that predicted

The names of the files are those of the config's writers.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lighter.callbacks.writers.base import BaseWriter, writers_of
from lighter.callbacks.writers.files import FileWriter
from lighter.callbacks.writers.table import RowWriter
from lighter.config.load import Input
from lighter.engine.prediction_tables import Columns, concatenated, in_order, mean, read_table, rows_of, write_table
from lighter.engine.runner import Runner
from lighter.engine.split_record import read_indices
from lighter.errors import PredictionError, RunError
from lighter.files.run_folder import CONFIG, RECORD, RunFolder, claim_predictions
from lighter.runs.find_checkpoint import find_in_run
from lighter.runs.read import FINISHED, PAUSED, read_run

if TYPE_CHECKING:
    from lighter.engine.execution import Outcome

log = logging.getLogger("lighter")

_MEMBER = re.compile(r"trial-(?P<trial>\d+)-seed-(?P<seed>\d+)(?:-fold-(?P<fold>\d+))?\Z")
INDEX, FOLD = "index", "fold"


@dataclass(frozen=True)
class Fitted:
    """A member that was trained: its run's folder, its seed and fold."""

    folder: RunFolder
    seed: int
    fold: int | None

    @property
    def group(self) -> tuple[int, int]:
        """The seed and the repeat: the members of a group predict each sample once."""
        split: Mapping[str, Any] = read_run(self.folder.path).facts.get("split") or {}
        is_repeated = str(split.get("kind")).startswith("repeated")
        return self.seed, (self.fold or 0) // split["n"] if is_repeated and split.get("n") else 0


def fitted_members(experiment: Path, trial: int) -> list[Fitted]:
    """Return the members of a trial that have a run, by seed and fold."""
    fitted = []
    for path in experiment.iterdir():
        match = _MEMBER.match(path.name)
        if match is not None and int(match["trial"]) == trial and (path / RECORD).is_file():
            fold = int(match["fold"]) if match["fold"] is not None else None
            fitted.append(Fitted(RunFolder(path), int(match["seed"]), fold))
    return sorted(fitted, key=lambda member: (member.seed, member.fold or 0))


def predict_out_of_fold(experiment: Path, trial: int, ckpt_path: str | None = None) -> Path:
    """Let each member of a trial predict its validation side, put the predictions together, and return their folder.

    Args:
        ckpt_path: `best` or `last` of each member; by default the best if there is one, otherwise the last.

    Raises:
        RunError: the trial has no members with folds.
        PredictionError: a sample would be predicted several times; the config has no writers.
    """
    members = [member for member in _members(experiment, trial) if member.fold is not None]
    if not members:
        raise RunError(f"trial {trial} of {experiment} has no folds, so no sample was left out of a training")
    _see_that_samples_come_once(members)
    into = claim_predictions(experiment)
    predicted = [_predict(member, into, ckpt_path, "data::split::predict=val") for member in members]
    groups: dict[tuple[int, int], list[_Predicted]] = {}
    for each in predicted:
        groups.setdefault(each.member.group, []).append(each)
    by_repeat = len({repeat for _, repeat in groups}) > 1
    for name in _tables(predicted):
        tables = {_named(*group, by_repeat=by_repeat): _of_folds(name, folds) for group, folds in groups.items()}
        _write(into, name, tables)
    for directory in _directories(predicted):
        for group, folds in groups.items():
            home = into / _named(*group, by_repeat=by_repeat) if len(groups) > 1 else into
            _gather(directory, folds, home)
    return into


def predict_ensemble(experiment: Path, trial: int, ckpt_path: str | None = None) -> Path:
    """Let all members of a trial predict what the config predicts, and return the folder with the mean of them.

    The members' own predictions are beside it, each in a folder of the member's name.

    Raises:
        RunError: the trial has no members.
        PredictionError: the config has no writers of tables.
    """
    members = _members(experiment, trial)
    into = claim_predictions(experiment)
    predicted = [_predict(member, into, ckpt_path) for member in members]
    for name in _tables(predicted):
        tables = {each.member.folder.path.name: read_table(each.root / name) for each in predicted}
        _write(into, name, tables)
    return into


@dataclass(frozen=True)
class _Predicted:
    member: Fitted
    root: Path  # of the relative paths of its writers
    folder: RunFolder
    writers: Sequence[BaseWriter]


def _members(experiment: Path, trial: int) -> list[Fitted]:
    members = fitted_members(experiment, trial)
    if not members:
        numbers = {int(match["trial"]) for path in experiment.iterdir() if (match := _MEMBER.match(path.name))}
        if trial not in numbers:
            raise RunError(f"there is no trial {trial} in {experiment}, which has {len(numbers)}")
        raise RunError(f"trial {trial} of {experiment} has no members that were trained")
    return members


def _see_that_samples_come_once(members: Sequence[Fitted]) -> None:
    seen: dict[tuple[int, int], dict[int, int]] = {}
    for member in members:
        of_group = seen.setdefault(member.group, {})
        for index in read_indices(member.folder).val.tolist():
            if index in of_group:
                message = f"sample {index} is on the validation side of the folds {of_group[index]} and {member.fold}"
                raise PredictionError(f"{message}: each sample is to be predicted once")
            of_group[index] = member.fold or 0
    for (seed, _), of_group in seen.items():
        samples = (read_run(members[0].folder.path).facts.get("split") or {}).get("samples", len(of_group))
        if len(of_group) < samples:
            log.warning("seed %d: %d of %d samples are in no validation side", seed, samples - len(of_group), samples)


def _predict(member: Fitted, into: Path, ckpt_path: str | None, *changes: str) -> _Predicted:
    checkpoint = find_in_run(member.folder, ckpt_path)
    name, status = member.folder.path.name, read_run(member.folder.path).status
    log.info("%s predicts with %s", name, checkpoint.name)
    if status not in (FINISHED, PAUSED):
        log.warning("the training of %s is not at its end (%s), so neither is the model that predicts", name, status)
    inputs: list[Input] = [member.folder.path / CONFIG, *changes, {"run": {"dir": str(into / "runs"), "name": name}}]
    # `last` and `best` of the config would be those of other runs
    outcome = Runner().execute("predict", inputs, ckpt_path=str(checkpoint), return_predictions=False)
    writers = writers_of(outcome.trainer)
    if not writers:
        raise PredictionError(
            "the config has no writer of predictions: trainer::callbacks: "
            "[{_target_: lighter.callbacks.CsvWriter, path: predictions.csv, keys: [pred]}]"
        )
    return _Predicted(member, _root(outcome), outcome.folder, writers)


def _root(outcome: Outcome) -> Path:
    return Path(outcome.trainer.default_root_dir).absolute()


def _tables(predicted: Sequence[_Predicted]) -> Iterator[Path]:
    """Yield the tables that each member wrote, by their paths in its run's folder."""
    first = predicted[0]
    for writer in first.writers:
        if isinstance(writer, RowWriter):
            yield _in_run(writer, first)
        elif not isinstance(writer, FileWriter):
            log.warning("%s: its files are left in %s", type(writer).__name__, first.folder.path.parent)


def _directories(predicted: Sequence[_Predicted]) -> Iterator[Path]:
    for writer in predicted[0].writers:
        if isinstance(writer, FileWriter):
            yield _in_run(writer, predicted[0])


def _in_run(writer: BaseWriter, first: _Predicted) -> Path:
    if first.root not in writer.path.parents:
        raise PredictionError(f"{writer.path} is one file for all members: give the writer a relative path")
    return writer.path.relative_to(first.root)


def _named(seed: int, repeat: int, *, by_repeat: bool) -> str:
    return f"seed-{seed}-repeat-{repeat}" if by_repeat else f"seed-{seed}"


def _of_folds(name: Path, folds: Sequence[_Predicted]) -> Columns:
    """Return the rows of all folds in the order of the dataset."""
    return in_order(concatenated([_with_index(read_table(each.root / name), each) for each in folds]), INDEX)


def _with_index(table: Columns, of: _Predicted) -> Columns:
    samples = np.sort(read_indices(of.folder).val).tolist()
    if rows_of(table) != len(samples):
        name = of.member.folder.path.name
        raise PredictionError(f"{name} predicted {rows_of(table)} samples; its validation side has {len(samples)}")
    # a column of the user's keeps its name
    ours = {INDEX: samples, FOLD: [of.member.fold] * len(samples)}
    return {**ours, **{(f"{key}_" if key in ours else key): values for key, values in table.items()}}


def _write(into: Path, name: Path, tables: Mapping[str, Columns]) -> None:
    """Write tables of the same samples, and their mean; a single one as it is."""
    if len(tables) == 1:
        write_table(into / name, *tables.values())
        return
    for group, table in tables.items():
        write_table(into / group / name, table)
    averaged, left_out = mean([*tables.values()])
    # of several repeats, a sample's folds differ
    left_out = [key for key in left_out if key != FOLD]
    if left_out:
        log.warning("%s: there is no mean of %s", name, ", ".join(left_out))
    if averaged:
        write_table(into / name, averaged)


def _gather(directory: Path, folds: Sequence[_Predicted], home: Path) -> None:
    """Link or copy the files of all folds into one directory, and write one table of them."""
    (home / directory).mkdir(parents=True, exist_ok=True)
    index = directory.with_name(f"{directory.name}.index.csv")
    for each in folds:
        for file in read_table(each.root / index)["file"]:
            _copy(each.root / directory / file, home / directory / file)
    write_table(home / index, _of_folds(index, folds))


def _copy(file: Path, to: Path) -> None:
    if to.exists():
        raise PredictionError(f"two folds predicted {to.name}: give the writer a `name_key` that tells samples apart")
    with suppress(OSError):  # a file system without links
        os.link(file, to)
        return
    shutil.copy2(file, to)
