"""Lightning's CSV logger, made safe for disks that fill up: no row is torn or lost, and no fit stops for it."""

from __future__ import annotations

import csv
import io
import logging
import os
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import rank_zero_experiment
from lightning_fabric.utilities.cloud_io import get_filesystem
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from lighter._lightning.loggers import CSVLogger as _CSVLogger
from lighter.files.atomic import write_whole
from lighter.files.storage import is_remote

log = logging.getLogger("lighter.runs")


class CSVLogger(_CSVLogger):
    """Lightning's, with a writer of our own for files on disks."""

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        if self.writer is None:
            get_filesystem(self.root_dir).makedirs(self.root_dir, exist_ok=True)
            self.writer = (ExperimentWriter if is_remote(self.log_dir) else _Writer)(log_dir=self.log_dir)
        return self.writer

    def finalize(self, status: str) -> None:
        super().finalize(status)
        # for the last time, so what it still keeps is lost
        if isinstance(self.writer, _Writer) and self.writer.metrics:
            log.warning("%s lacks its last %d rows", self.writer.metrics_file_path, len(self.writer.metrics))


class _Writer(ExperimentWriter):
    """Keeps rows that cannot be written in memory until they can. The file always holds whole rows."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir=log_dir)
        self._is_failing = False

    def save(self) -> None:
        if not self.metrics:
            return
        try:
            self._write()
        except OSError as error:
            # once, as the next save tries again
            if not self._is_failing:
                kept = "Its rows are kept in memory and written when that is possible"
                log.warning("%s cannot be written: %s. %s", self.metrics_file_path, error.strerror or error, kept)
            self._is_failing = True
        else:
            self._is_failing, self.metrics = False, []

    def _write(self) -> None:
        path = Path(self.metrics_file_path)
        names = set().union(*self.metrics) - set(self.metrics_keys)
        keys = sorted([*self.metrics_keys, *names]) if names else self.metrics_keys
        if path.exists() and not names:
            _append(path, _rows(keys, self.metrics))
        else:
            # a name that comes up later is a column of all rows
            with open(path, newline="", encoding="utf-8") if path.exists() else io.StringIO() as file:
                earlier = list(csv.DictReader(file))
            write_whole(path, _rows(keys, [dict(zip(keys, keys, strict=True)), *earlier, *self.metrics]))
        self.metrics_keys = keys


def _rows(keys: list[str], rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.DictWriter(text, keys).writerows(rows)
    return text.getvalue().encode()


def _append(path: Path, rows: bytes) -> None:
    with open(path, "ab", buffering=0) as file:
        end = file.tell()
        try:
            written = 0
            while written < len(rows):
                written += file.write(rows[written:])
        except OSError:
            os.truncate(path, end)  # the rest of a row would make the next one a part of it
            raise
