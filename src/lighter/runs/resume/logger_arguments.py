"""Continue the loggers' earlier runs when a fit resumes, so that curves are continuous: no step twice, none missing."""

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
from typing import TYPE_CHECKING, Any

from lighter.config.objects import Objects
from lighter.config.safe.paths import leads_out, outside
from lighter.errors import RunError
from lighter.files.atomic import write_whole
from lighter.files.run_folder import METRICS, is_rank_zero
from lighter.files.storage import is_remote
from lighter.runs.loggers import defined_loggers
from lighter.runs.read import Run
from lighter.runs.resume.saved_state import State

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import Logger

log = logging.getLogger("lighter.runs")

_OF_EVALUATION = re.compile(r"(?P<mode>val|test)/.*/step(?:/dataloader_idx_(?P<loader>\d+))?")


def continue_definitions(objects: Objects, run: Run, next_step: int) -> None:
    """Exchange the definitions of the trainer's loggers for ones that name their earlier run."""
    recorded = run.facts.get("loggers") or []
    for index, path in enumerate(defined_loggers(objects)):
        before = recorded[index] if index < len(recorded) else {}
        # the record may be anybody's, and the version is a part of the path that the logger writes to
        if leads_out(before.get("version")) is not None:
            before = {}
        known: dict[str, dict[str, Any]] = {
            # without a version it takes a new one: Lightning deletes what it finds in another storage
            "CSVLogger": {"version": None if is_remote(before.get("folder") or "") else before.get("version")},
            # `purge_step` hides what was logged from there on; the default metric would be logged at step 0 once more
            "TensorBoardLogger": {
                "version": before.get("version"),
                "purge_step": next_step,
                "default_hp_metric": False,
            },
            "WandbLogger": {"id": before.get("version"), "resume": "allow"},
            "MLFlowLogger": {"run_id": before.get("run_id")},
        }
        kinds = _kinds(objects.target_or_none(path))
        kind = next((kind for kind in kinds if kind in known), None)
        if kind is not None and before.get("class") in kinds:
            objects.add_arguments(path, known[kind])
        elif kinds:
            log.warning("%s cannot continue its earlier run and starts another", kinds[0])


def _kinds(target: object) -> list[str]:
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
        written = [one.get("folder") for one in run.facts.get("loggers") or [] if one.get("class") == "CSVLogger"]
        folders = [Path(folder).resolve() for folder in written if folder and not is_remote(folder)]
        if roots is not None:
            folders = [folder for folder in folders if outside(str(folder), roots) is None]
        files = {folder / METRICS for folder in [run.folder.path.resolve(), *folders]}
        # one that is only aside is of a resume that was killed while it built the trainer
        self.files = [file for file in sorted(files) if file.is_file() or _aside(file).is_file()]

    def around(self, build: Callable[[], pl.Trainer]) -> pl.Trainer:
        """Build a trainer whose CSV loggers continue the files."""
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

    def drop(self, state: State, trainer: pl.Trainer, *, exact: bool) -> None:
        """Take out the rows that will be logged once more: a killed run may be further than its checkpoint.

        Only files that the trainer's CSV loggers write are changed, whatever the record says.

        Args:
            exact: whether all that followed the saving is done once more, and not only the later steps.
        """
        written = _writers(trainer) if is_rank_zero() else {}
        for file in [file for file in self.files if file in written]:
            names, rows = _rows(file)
            before = state.counts("logged").get(_key(file, self.folder)) if exact else None
            kept = [row for row in rows if _is_before(row, state)] if before is None else rows[:before]
            if len(kept) < len(rows):
                text = io.StringIO(newline="")
                writer = csv.DictWriter(text, names)
                writer.writeheader()
                writer.writerows(kept)
                write_whole(file, text.getvalue())


def logged(loggers: Iterable[Logger], folder: Path) -> dict[str, int]:
    """Count the rows of CSV loggers, written or in memory, by their files' paths from a run's folder."""
    rows = {}
    for logger in loggers:
        if "CSVLogger" in _kinds(type(logger)) and logger.log_dir and not is_remote(logger.log_dir):
            file, writer = Path(logger.log_dir) / METRICS, logger.experiment  # type: ignore[attr-defined]
            rows[_key(file, folder)] = (max(0, _lines(file) - 1) if file.is_file() else 0) + len(writer.metrics)
    return rows


def _key(file: Path, folder: Path) -> str:
    return os.path.relpath(file.resolve(), folder.resolve())


def _lines(file: Path) -> int:
    with file.open("rb") as content:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: content.read(1 << 20), b""))


def _aside(file: Path) -> Path:
    return file.with_name(file.name + ".aside")


def _writers(trainer: pl.Trainer) -> dict[Path, Any]:
    writers = {}
    with warnings.catch_warnings():  # that the folder is not empty: no metrics.csv is in it
        warnings.filterwarnings("ignore", "Experiment logs directory")
        for logger in trainer.loggers:
            if "CSVLogger" in _kinds(type(logger)):
                writers[Path(str(logger.log_dir)).resolve() / METRICS] = logger.experiment  # type: ignore[attr-defined]
    return writers


def _rows(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    hint = "Nothing was changed. Mend the file, or move it away: the run continues with a new one"
    message = f"{file} cannot be read, and the rows of a fit that resumes are added to it: {{}}. {hint}"
    try:
        text = file.read_text(encoding="utf-8")
        # of a killed process the last row may be cut off
        reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
        names, rows = list(reader.fieldnames or []), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise RunError(message.format(error)) from error
    long = next((index for index, row in enumerate(rows) if None in row), None)
    if long is not None:
        raise RunError(message.format(f"row {long + 1} has more values than the header has names"))
    return names, rows


def _is_before(row: Mapping[str, str], state: State) -> bool:
    names = [name for name, value in row.items() if value and name not in ("step", "epoch")]
    evaluations = [match for name in names if (match := _OF_EVALUATION.fullmatch(name))]
    end = state.next_step
    # the steps of validation and test are counted apart from those of the training
    if evaluations and len(evaluations) == len(names):
        end = state.counts("steps_seen").get(f"{evaluations[0]['mode']}/{evaluations[0]['loader'] or 0}", end)
    with suppress(ValueError, KeyError):
        return int(row["step"]) < end
    return True
