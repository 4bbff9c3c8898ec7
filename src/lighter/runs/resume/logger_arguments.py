"""Loggers that go on with the run that they had, so that its curves are continuous: no step twice, none missing."""

from __future__ import annotations

import csv
import inspect
import io
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lighter.config.safe.paths import leads_out, outside
from lighter.errors import RunError
from lighter.files.atomic import write_whole
from lighter.files.run_folder import METRICS, is_rank_zero
from lighter.files.storage import is_remote
from lighter.runs.loggers import defined_loggers
from lighter.runs.read import Run
from lighter.runs.resume.saved_state import State

log = logging.getLogger("lighter.runs")

_ASIDE = ".aside"
_OF_EVALUATION = re.compile(r"(?P<mode>val|test)/.*/step(?:/dataloader_idx_(?P<loader>\d+))?")


def continue_definitions(objects: Any, run: Run, next_step: int) -> None:
    """Exchange the definitions of the trainer's loggers for ones that name their earlier run.

    Args:
        next_step: the first step that will be logged.
    """
    recorded = run.facts.get("loggers") or []
    for index, path in enumerate(defined_loggers(objects)):
        before = recorded[index] if index < len(recorded) else {}
        if leads_out(before.get("version")) is not None:  # a part of the path that it writes to
            before = {}
        kinds = _kinds(objects.target_or_none(path))
        more = _arguments(kinds, before, next_step) if before.get("class") in kinds else None
        if more is not None:
            objects.add_arguments(path, more)
        elif kinds:
            log.warning("%s cannot go on with its earlier run and starts another", kinds[0])


def _arguments(kinds: Sequence[str], before: Mapping[str, Any], next_step: int) -> dict[str, Any] | None:
    """The constructor arguments by which a logger goes on; None for one that we do not know."""
    known: dict[str, dict[str, Any]] = {
        # without a version it takes a new one: Lightning deletes what it finds in another storage, which is not ours
        "CSVLogger": {"version": None if is_remote(before.get("folder") or "") else before.get("version")},
        "TensorBoardLogger": {
            "version": before.get("version"),
            "purge_step": next_step,  # what was logged from here on is not to be seen any more
            "default_hp_metric": False,
        },
        "WandbLogger": {"id": before.get("version"), "resume": "allow"},
        "MLFlowLogger": {"run_id": before.get("run_id")},
    }
    return next((known[kind] for kind in kinds if kind in known), None)


def _kinds(target: Any) -> list[str]:
    return [kind.__name__ for kind in inspect.getmro(target)] if inspect.isclass(target) else []


class CsvFiles:
    """The `metrics.csv` files of a run, which Lightning's CSV logger deletes when it starts where one is.

    So they are renamed while the trainer is built, and get their name back afterwards.

    Args:
        run: whose record names them.
        roots: the folders in which they may be; None if they may be anywhere.
    """

    def __init__(self, run: Run, roots: Sequence[Path] | None = None) -> None:
        self.folder = run.folder.path
        loggers = [one for one in run.facts.get("loggers") or [] if one.get("class") == "CSVLogger"]
        folders = [
            Path(one["folder"]).resolve() for one in loggers if one.get("folder") and not is_remote(one["folder"])
        ]
        if roots is not None:
            folders = [folder for folder in folders if outside(str(folder), roots) is None]
        files = {folder / METRICS for folder in [run.folder.path.resolve(), *folders]}
        self.files = [file for file in sorted(files) if file.is_file() or _aside(file).is_file()]

    def around(self, build: Callable[[], Any]) -> Any:
        """The trainer that a function builds, whose CSV loggers go on in the files that are there."""
        if not is_rank_zero():
            return build()
        for file in self.files:
            if file.is_file():
                file.rename(_aside(file))
        try:
            trainer = build()
            writers = _writers(trainer)  # each is made now, while there is no file that it could delete
        finally:
            for file in self.files:
                _aside(file).rename(file)
        for file in self.files:
            if file in writers:
                writers[file].metrics_keys = _rows(file)[0]
        return trainer

    def drop(self, state: State, trainer: Any, *, exact: bool) -> None:
        """Take out the rows that will be logged again: a killed run may be further than its checkpoint.

        Args:
            state: what the run goes on from.
            trainer: whose CSV loggers write the files; no other file is changed, whatever the record says.
            exact: whether all that followed its saving is done again, and not only the steps that did.
        """
        written = _writers(trainer) if is_rank_zero() else {}
        for file in [file for file in self.files if file in written]:
            names, rows = _rows(file)
            before = state.logged.get(_key(file, self.folder)) if exact else None
            kept = [row for row in rows if _is_before(row, state)] if before is None else rows[:before]
            if len(kept) < len(rows):
                text = io.StringIO(newline="")
                writer = csv.DictWriter(text, names)
                writer.writeheader()
                writer.writerows(kept)
                write_whole(file, text.getvalue())


def logged(loggers: Iterable[Any], folder: Path) -> dict[str, int]:
    """How many rows CSV loggers have, by their files' paths from a run's folder: written ones, and those in memory."""
    rows = {}
    for logger in loggers:
        if "CSVLogger" in _kinds(type(logger)) and not is_remote(logger.log_dir):
            file = Path(logger.log_dir) / METRICS
            written = max(0, _lines(file) - 1) if file.is_file() else 0
            rows[_key(file, folder)] = written + len(logger.experiment.metrics)
    return rows


def _key(file: Path, folder: Path) -> str:
    return os.path.relpath(file.resolve(), folder.resolve())


def _lines(file: Path) -> int:
    with file.open("rb") as content:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: content.read(1 << 20), b""))


def _aside(file: Path) -> Path:
    return file.with_name(file.name + _ASIDE)


def _writers(trainer: Any) -> dict[Path, Any]:
    """What writes each file of the trainer's CSV loggers."""
    found = {}
    with warnings.catch_warnings():  # that the folder is not empty: no metrics.csv is in it
        warnings.filterwarnings("ignore", "Experiment logs directory")
        for logger in trainer.loggers:
            if "CSVLogger" in _kinds(type(logger)):
                found[Path(logger.log_dir).resolve() / METRICS] = logger.experiment
    return found


def _rows(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The header and the rows; of a killed process the last one may be cut off, and is left out."""
    try:
        text = file.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        reader = csv.DictReader(io.StringIO(whole, newline=""))
        names, rows = list(reader.fieldnames or []), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise _damaged(file, str(error)) from error
    long = next((index for index, row in enumerate(rows) if None in row), None)
    if long is not None:
        raise _damaged(file, f"row {long + 1} has more values than the header has names")
    return names, rows


def _damaged(file: Path, what: str) -> RunError:
    hint = "Nothing was changed. Mend the file, or move it away: the run goes on with a new one"
    return RunError(f"{file} cannot be read, and the rows of a fit that goes on are added to it: {what}. {hint}")


def _is_before(row: Mapping[str, str], state: State) -> bool:
    """Whether a row was logged before the state that is gone on from.

    Steps of validation and test are counted apart from those of the training.
    """
    names = [name for name, value in row.items() if value and name not in ("step", "epoch")]
    found = [_OF_EVALUATION.fullmatch(name) for name in names]
    end = state.next_step
    if found and all(found) and found[0] is not None:
        end = state.steps_seen.get(f"{found[0]['mode']}/{found[0]['loader'] or 0}", end)
    with suppress(ValueError, KeyError):
        return int(row["step"]) < end
    return True
