"""`FileWriter`: a file for each sample, and a table of them."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
from torch import Tensor

from lighter.callbacks.writers.base import BaseWriter
from lighter.callbacks.writers.disk import crc_of, publish, sync
from lighter.callbacks.writers.formats import CsvFormat
from lighter.callbacks.writers.functions import WriterFunction, writer_registry
from lighter.callbacks.writers.names import file_name
from lighter.callbacks.writers.part import Part
from lighter.callbacks.writers.samples import cells
from lighter.errors import ModuleTypeError, PredictionError, add_note
from lighter.files.atomic import sync_folder
from lighter.parts.describe import describe

_ASIDE = ".partial"
_VALUE = "value"


class FileWriter(BaseWriter):
    """Write a file for each sample in a directory, and beside it `DIRECTORY.index.csv`: each sample's name and file.

    A file appears under its name when it is whole, and the table when all files are there. The name is the sample's
    index in the dataset (`12.pt`, or `0-12.pt` of dataloader 0 of several), or the value of `name_key`, made safe as
    `names.file_name` says; two samples with one name are an error. A file holds its own sample alone.

    Args:
        directory: of the files; see `path` of `BaseWriter`. It is new, or empty.
        value_key: of the dict that `predict_step` returns: a value for each sample.
        writer_fn: `tensor`, `image_2d`, `image_3d`, `video`, `text`, a name that was registered with
            `writer_registry`, or a function of a path without suffix and a value. It writes one file, at that path or
            the path with a suffix.
        name_key: of the same dict: the samples' names.

    Raises:
        ModuleTypeError: `writer_fn` is neither a name nor a function.
        ModuleValueError: there is no function of that name.
    """

    path_argument: ClassVar = "directory"

    def __init__(
        self,
        directory: str | os.PathLike[str],
        value_key: str,
        writer_fn: str | WriterFunction,
        name_key: str | None = None,
    ) -> None:
        super().__init__(directory)
        if not isinstance(writer_fn, str) and not callable(writer_fn):
            raise ModuleTypeError(
                f"`writer_fn` is a name or a function of a path and a value; found {describe(writer_fn)}"
            )
        self.value_key, self.name_key = value_key, name_key
        self.function: Callable[[Path, Any], Any] = (
            writer_registry.get(writer_fn) if isinstance(writer_fn, str) else writer_fn
        )
        self.format = CsvFormat(["name", "file"])
        self._repeated: set[str] = set()  # files of batches that are predicted again

    @property
    def rows_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.index.csv")

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        lost = self._part.lost if self._part is not None else []
        self._repeated = {str(file) for note in lost if isinstance(note, dict) for file in note.get("files") or ()}
        if self._part is None or self._resumes:
            return
        has_files = self.path.is_dir() and bool(set(os.listdir(self.path)) - {_ASIDE})
        # Another process may come here when the first has begun to write.
        if trainer.strategy.broadcast(has_files):
            raise PredictionError(f"{self.path} has files in it, and nothing is written over: name another directory")
        if trainer.is_global_zero:
            self.path.mkdir(parents=True, exist_ok=True)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_predict_start(trainer, pl_module)
        self._several, self._processes = len(trainer.num_predict_batches) > 1, trainer.world_size
        self._aside = self.path / _ASIDE / str(self.rank)
        if self._part is not None:
            shutil.rmtree(self._aside, ignore_errors=True)
            self._aside.mkdir(parents=True)

    def write(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        assert self._part is not None
        keys = [self.value_key] if self.name_key is None else [self.value_key, self.name_key]
        columns = self.columns(outputs, keys)
        values = columns[self.value_key]
        names = self._names(columns, len(values), dataloader_idx)
        # all of them first: if a function fails, no file of this batch has its name
        written = [self._write_aside(number, name, values[number]) for number, name in enumerate(names)]
        files = [file_name(name) + path.name.removeprefix(_VALUE) for name, path in zip(names, written, strict=True)]
        self._publish(names, written, files)
        shutil.rmtree(self._aside)
        self._aside.mkdir()
        self.add_rows({"name": names, "file": files})

    def _publish(self, names: list[str], written: list[Path], files: list[str]) -> None:
        assert self._part is not None
        samples: Sequence[int | None] = [None] * len(files) if self.samples is None else self.samples
        # a run that was killed here may have given some of these files their names: those that are as noted stay
        before = self._part.unfinished or {}
        done = {file for file, crc in _noted(before) if self._is_as_noted(file, crc)}
        repeated = (self._repeated | {file for file, _ in _noted(before)}) - done
        twice = {file for file, number in Counter(files).items() if number > 1}
        for name, path, file, sample in zip(names, written, files, samples, strict=True):
            if file in twice or (file not in done | repeated and self._is_taken(file, sample, path)):
                raise self._name_taken(name, file)
        # before any name is given, so that a resumed run knows these files for its own
        self._part.note_unfinished({"files": files, "samples": samples, "crcs": [crc_of(path) for path in written]})
        for name, path, file, sample in zip(names, written, files, samples, strict=True):
            if file in repeated:
                os.replace(path, self.path / file)
            elif file not in done and not publish(path, self.path / file) and self._is_taken(file, sample, path):
                raise self._name_taken(name, file)
        sync_folder(self.path)
        # of the published files: one that another process has made of the same sample may have other bytes
        self._noted = {"files": files, "crcs": [crc_of(self.path / file) for file in files]}

    def _damaged_in(self, note: Mapping[str, Any]) -> Path | None:
        files = _noted(note) if "batch" in note else ()
        return next((self.path / file for file, crc in files if not self._is_as_noted(file, crc)), None)

    def _is_as_noted(self, file: str, crc: int | None) -> bool:
        with suppress(FileNotFoundError):
            return (self.path / file).exists() if crc is None else crc_of(self.path / file) == crc
        return False

    def finish(self, parts: list[Part]) -> None:
        shutil.rmtree(self.path / _ASIDE, ignore_errors=True)
        super().finish(parts)

    def about(self) -> dict[str, Any]:
        return {**super().about(), "value_key": self.value_key, "name_key": self.name_key}

    def _names(self, columns: dict[str, Any], count: int, loader: int) -> list[str]:
        if self.name_key is not None:
            names = cells(columns[self.name_key])
            for name in names:
                if isinstance(name, bool) or not isinstance(name, (str, int)):
                    message = f"`{self.name_key}` holds the names of samples, text or whole numbers"
                    raise PredictionError(f"{message}; found {describe(name)}")
            return [str(name) for name in names]
        prefix = f"{loader}-" if self._several else ""
        if self.samples is None:  # a dataset without indices: the process, and the number of the sample in it
            assert self._part is not None
            prefix += f"{self.rank}-"
            return [f"{prefix}{self._part.samples + number}" for number in range(count)]
        return [f"{prefix}{index}" for index in self.samples]

    def _write_aside(self, number: int, name: str, value: object) -> Path:
        folder = self._aside / str(number)
        folder.mkdir()
        try:
            # a clone, as `torch.save` saves the whole batch with a view of it
            self.function(folder / _VALUE, value.clone() if isinstance(value, Tensor) else value)
        except Exception as error:
            add_note(error, f"while {type(self).__name__} wrote `{self.value_key}` of the sample {name!r}")
            raise
        made = sorted(folder.iterdir())
        if len(made) != 1 or not made[0].name.startswith(_VALUE):
            raise PredictionError(
                f"`writer_fn` writes one file, at the path that it gets or that path with a suffix; for the sample"
                f" {name!r} it made {', '.join(path.name for path in made) or 'none'} at {folder / _VALUE}"
            )
        sync(made[0])
        return made[0]

    def _is_taken(self, file: str, sample: int | None, path: Path) -> bool:
        if not os.path.lexists(self.path / file):
            return False
        # the files of a damaged note are not known: equal ones are taken for the same
        if self._part is not None and self._part.is_cut and filecmp.cmp(path, self.path / file, shallow=False):
            return False
        # samplers of distributed runs give some samples to two processes, and each has noted whose file it writes
        for rank in range(self._processes):
            part = self._part_of(rank)
            if rank == self.rank or not part.progress.exists():
                continue
            if any((file, sample) in zip(note["files"], note["samples"], strict=True) for note in part.noted()):
                return False
        return True

    def _name_taken(self, name: str, file: str) -> PredictionError:
        return PredictionError(
            f"two samples have the name {name!r}, or something else made its file: {self.path / file} is there. Give"
            " each sample a name of its own, or leave `name_key` out to name them by their index"
        )


def _noted(note: Mapping[str, Any]) -> Iterator[tuple[str, int | None]]:
    files = note.get("files", ())
    # earlier versions noted no checksums
    return zip(files, note.get("crcs") or [None] * len(files), strict=True)
