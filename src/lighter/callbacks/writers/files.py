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
    """A file for each sample in a directory, and beside it `DIRECTORY.index.csv`: each sample's name and file.

    A file appears under its name when it is whole, and the table when all are there. The name is the sample's index
    in the dataset (`12.pt`, or `0-12.pt` of dataloader 0 of several), or what `name_key` holds, made safe as
    `names.file_name` says; two samples with one name are an error. A file holds its own sample alone.

    Args:
        directory: where the files go; see `path` of `BaseWriter`. It is new, or empty.
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
        self._again: set[str] = set()  # files of batches that are predicted again

    @property
    def rows_path(self) -> Path:
        """The table of the files."""
        return self.path.with_name(f"{self.path.name}.index.csv")

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Make the directory, or see that it is empty."""
        super().setup(trainer, pl_module, stage)
        lost = self._part.lost if self._part is not None else []
        self._again = {str(file) for note in lost if isinstance(note, dict) for file in note.get("files") or ()}
        if self._part is None or self._goes_on:
            return
        if self.path.is_dir() and set(os.listdir(self.path)) - {_ASIDE}:
            raise PredictionError(f"{self.path} has files in it, and nothing is written over: name another directory")
        if trainer.is_global_zero:
            self.path.mkdir(parents=True, exist_ok=True)

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """Make the place for files that are not whole yet."""
        super().on_predict_start(trainer, pl_module)
        self._several, self._processes = len(trainer.num_predict_batches) > 1, trainer.world_size
        self._aside = self.path / _ASIDE / str(self.rank)
        if self._part is not None:
            shutil.rmtree(self._aside, ignore_errors=True)
            self._aside.mkdir(parents=True)

    def write(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        """Write the files of a batch: all of them aside, then each under its name."""
        assert self._part is not None
        keys = [self.value_key] if self.name_key is None else [self.value_key, self.name_key]
        found = self.columns(outputs, keys)
        values = found[self.value_key]
        names = self._names(found, len(values), dataloader_idx)
        written = [self._write_aside(number, name, values[number]) for number, name in enumerate(names)]
        files = [file_name(name) + path.name.removeprefix(_VALUE) for name, path in zip(names, written, strict=True)]
        self._publish(names, written, files)
        shutil.rmtree(self._aside)
        self._aside.mkdir()
        self.add_rows({"name": names, "file": files})

    def _publish(self, names: list[str], written: list[Path], files: list[str]) -> None:
        """Give the files of a batch their names, noting them before; those that an interrupted run gave stay."""
        assert self._part is not None
        samples: Sequence[int | None] = [None] * len(files) if self.samples is None else self.samples
        before = self._part.unfinished or {}
        done = {file for file, crc in _noted(before) if self._is_as_noted(file, crc)}
        again = (self._again | {file for file, _ in _noted(before)}) - done
        twice = {file for file, number in Counter(files).items() if number > 1}
        for name, path, file, sample in zip(names, written, files, samples, strict=True):
            if file in twice or (file not in done | again and self._is_taken(file, sample, path)):
                raise self._same(name, file)
        self._part.note_unfinished({"files": files, "samples": samples, "crcs": [crc_of(path) for path in written]})
        for name, path, file, sample in zip(names, written, files, samples, strict=True):
            if file in again:
                os.replace(path, self.path / file)
            elif file not in done and not publish(path, self.path / file) and self._is_taken(file, sample, path):
                raise self._same(name, file)
        sync_folder(self.path)
        # of what is there: a file that another process has made of the same sample may have other bytes
        self._noted = {"files": files, "crcs": [crc_of(self.path / file) for file in files]}

    def _damaged_in(self, note: Mapping[str, Any]) -> Path | None:
        """The first file of a batch that is not as it was written, or not there."""
        files = _noted(note) if "batch" in note else ()
        return next((self.path / file for file, crc in files if not self._is_as_noted(file, crc)), None)

    def _is_as_noted(self, file: str, crc: int | None) -> bool:
        with suppress(FileNotFoundError):
            return (self.path / file).exists() if crc is None else crc_of(self.path / file) == crc
        return False

    def finish(self, parts: list[Part]) -> None:
        """Take the place aside away, and make the table whole."""
        shutil.rmtree(self.path / _ASIDE, ignore_errors=True)
        super().finish(parts)

    def about(self) -> dict[str, Any]:
        """What a run that goes on must have in common."""
        return {**super().about(), "value_key": self.value_key, "name_key": self.name_key}

    def _names(self, found: dict[str, Any], count: int, loader: int) -> list[str]:
        if self.name_key is not None:
            return [_as_text(name, self.name_key) for name in cells(found[self.name_key])]
        prefix = f"{loader}-" if self._several else ""
        if self.samples is None:  # a dataset without indices: the process, and the number of the sample in it
            assert self._part is not None
            prefix += f"{self.rank}-"
            return [f"{prefix}{self._part.samples + number}" for number in range(count)]
        return [f"{prefix}{index}" for index in self.samples]

    def _write_aside(self, number: int, name: str, value: Any) -> Path:
        """Write one value; returns the file that its function made."""
        place = self._aside / str(number)
        place.mkdir()
        try:
            # the whole batch would be saved with a view of it
            self.function(place / _VALUE, value.clone() if isinstance(value, Tensor) else value)
        except Exception as error:
            add_note(error, f"while {type(self).__name__} wrote `{self.value_key}` of the sample {name!r}")
            raise
        made = sorted(place.iterdir())
        if len(made) != 1 or not made[0].name.startswith(_VALUE):
            raise PredictionError(
                f"`writer_fn` writes one file, at the path that it gets or that path with a suffix; for the sample"
                f" {name!r} it made {', '.join(path.name for path in made) or 'none'} at {place / _VALUE}"
            )
        sync(made[0])
        return made[0]

    def _is_taken(self, file: str, sample: int | None, path: Path) -> bool:
        """Whether another sample has a file; where the same one has it, there is nothing left to do.

        Samplers of distributed runs give some samples to two processes, and each has noted whose file it writes. Of a
        note that is damaged, nobody knows the files: those are the same that are equal.
        """
        if not os.path.lexists(self.path / file):
            return False
        if self._part is not None and self._part.is_cut and filecmp.cmp(path, self.path / file, shallow=False):
            return False
        for rank in range(self._processes):
            part = self._part_of(rank)
            if rank == self.rank or not part.progress.exists():
                continue
            if any((file, sample) in zip(note["files"], note["samples"], strict=True) for note in part.noted()):
                return False
        return True

    def _same(self, name: str, file: str) -> PredictionError:
        return PredictionError(
            f"two samples have the name {name!r}, or something else made its file: {self.path / file} is there. Give"
            " each sample a name of its own, or leave `name_key` out to name them by their index"
        )


def _noted(note: Mapping[str, Any]) -> Iterator[tuple[str, int | None]]:
    """The files in a note, with their checksums, which earlier versions did not note."""
    files = note.get("files", ())
    return zip(files, note.get("crcs") or [None] * len(files), strict=True)


def _as_text(name: Any, key: str) -> str:
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise PredictionError(f"`{key}` holds the names of samples, text or whole numbers; found {describe(name)}")
    return str(name)
