"""`BaseWriter`: the callback behind all writers. It knows where, when and which samples; what it writes, others know.

setup               where to write, and that nothing is there; or, to go on, what is there
on_predict_start    the part of this process is opened; to go on, the batches that are complete are left out
on_predict_batch_end  `write`, then a note that the batch is complete
on_predict_end      the parts of all processes become the file
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pytorch_lightning import Callback

from lighter._lightning.access import predicted_samples, start_predicting_at
from lighter.callbacks.writers.disk import crc_of, publish, sync
from lighter.callbacks.writers.formats import Format
from lighter.callbacks.writers.order import in_order, is_in_order
from lighter.callbacks.writers.part import Part
from lighter.callbacks.writers.progress import Place
from lighter.callbacks.writers.samples import columns
from lighter.errors import ModuleTypeError, ModuleValueError, PredictionError
from lighter.files import run_folder as paths
from lighter.files.atomic import sync_folder
from lighter.files.storage import is_remote, normal, on_disk
from lighter.parts.describe import describe

log = logging.getLogger("lighter")
run_log = logging.getLogger("lighter.runs")  # whose warnings are shown on the terminal

_END: Place = (2**62, 0)
_TELLING = 1 << 20  # bytes at the end of a checkpoint: Lighter's manifest and torch's list of checksums are there


class BaseWriter(Callback):
    """Writes what `predict_step` returns, batch by batch. Override `write`.

    Memory does not grow with the number of samples, and what the trainer returns is left alone (`return_predictions`
    decides that). A prediction that was stopped at any moment goes on after its last complete batch where `resume` is
    true: `write` is not called again for complete batches, and for one batch it may be called twice.

    Args:
        path: the file or folder to write; one that is there already is never written over. A relative path is in the
            trainer's `default_root_dir`, which is the run's folder in runs of `lighter`.

    Attributes:
        resume: whether to go on with what is there; `lighter predict --resume` sets it.
        samples: in `write`, the indices of the batch's samples in the dataset; None if the dataset has none.

    Raises:
        ModuleTypeError: the path is none.

    Example:
        ```python
        class Blobs(lighter.callbacks.BaseWriter):
            def write(self, outputs, batch, batch_idx, dataloader_idx):
                self.path.mkdir(exist_ok=True)
                torch.save(outputs, self.path / f"{dataloader_idx}-{batch_idx}-{self.rank}.pt")
        ```
    """

    format: Format | None = None
    """How rows that `add_rows` gets are written; None for a writer that writes all files in `write`."""

    path_argument: ClassVar = "path"  # as constructors call it, for messages

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            message = f"`{self.path_argument}` says where {type(self).__name__} writes; found {describe(path)}"
            raise ModuleTypeError(message)
        if is_remote(path):
            raise ModuleValueError(f"{type(self).__name__} writes to a disk; `{self.path_argument}` is {normal(path)}")
        self.path = on_disk(path) or Path(path)
        self.resume = False
        self.samples: list[int] | None = None
        self.rank = 0
        self._part: Part | None = None
        self._goes_on = False
        self._count = 0
        self._noted: dict[str, Any] = {}  # of the batch, beside its samples

    def write(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        """Write what `predict_step` returned for a batch.

        Args:
            outputs: what it returned, on its device.
            batch: what it got.
            batch_idx: the number of the batch, from 0 for each dataloader.
            dataloader_idx: the number of the dataloader.
        """
        raise NotImplementedError(
            f"{type(self).__name__} is to have `write(outputs, batch, batch_idx, dataloader_idx)`"
        )

    def columns(self, outputs: Any, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values under some keys of what `predict_step` returned: see `samples.columns`.

        An `identifier` of None, that of a `System` without `identifier_accessor`, is the sample's index in the dataset.

        Raises:
            PredictionError: the output is no dict, a key is not there, or the lengths differ.
        """
        if self.samples is not None and isinstance(outputs, Mapping) and outputs.get("identifier", "") is None:
            outputs = {**outputs, "identifier": self.samples}
        return columns(outputs, keys, type(self).__name__)

    def add_rows(self, columns: Mapping[str, Any]) -> None:
        """Add rows, one for each sample of the batch, to the file of a writer that has a `format`.

        Args:
            columns: by name, a value for each sample: a tensor on the host, an array or a list.

        Raises:
            PredictionError: there are more or fewer rows than samples.
        """
        assert self.format is not None
        assert self._part is not None
        count = len(next(iter(columns.values())))
        if self.samples is not None and count != len(self.samples):
            raise PredictionError(
                f"{type(self).__name__} writes a row for each sample: the batch has {len(self.samples)}, and"
                f" `predict_step` returned {count} values under `{next(iter(columns))}`"
            )
        if self._part.header is None:
            self._part.begin(self.format.header(columns))
        self._part.append(self.format.encode(columns, self._part.header or b""))
        self._count = count

    @property
    def rows_path(self) -> Path:
        """The file of the rows, where there is one: it is there when the prediction is whole."""
        return self.path

    def has_begun(self, root: Path) -> bool:
        """Whether a run with this folder has begun to write, or has ended."""
        path = root / self.rows_path
        return path.exists() or paths.has_progress(path)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Find the place to write to, and see that nothing is lost there."""
        if stage != "predict":
            return
        self.rank = trainer.global_rank
        if is_remote(trainer.default_root_dir) and not self.path.is_absolute():
            root = f"the trainer's `default_root_dir` is {trainer.default_root_dir}"
            raise PredictionError(f"{self.path} is to be on a disk, and {root}: give the writer an absolute path")
        self.path = Path(trainer.strategy.broadcast(str(Path(trainer.default_root_dir).absolute() / self.path)))
        self._forbid_two_of_a_path(trainer)
        self._part = part = self._part_of(self.rank)
        self._goes_on = goes_on = self.resume and part.take()
        if self.rows_path.exists() and not (goes_on and self.format is None):
            if not self.resume:
                raise PredictionError(f"{self.rows_path} is there, and nothing is written over: name another path")
            self._see_that_it_is_whole(trainer)
            self.teardown(trainer, pl_module, stage)
        elif goes_on:
            part.load(self._damaged_in)
            self._report_damage(part)
        elif trainer.is_global_zero:
            self.rows_path.parent.mkdir(parents=True, exist_ok=True)

    def _damaged_in(self, note: Mapping[str, Any]) -> Path | None:
        """The first file that `write` made of a batch, beside its rows, and that is not as it was noted."""
        return None

    def _report_damage(self, part: Part) -> None:
        """Say that some of it is predicted again, which a writer of the user's may not be able to do.

        Raises:
            PredictionError: only the user knows what such a writer has written.
        """
        if part.damaged is None:
            return
        what = f"{part.damaged} is not as it was written, after {part.samples} samples"
        if self.format is None:
            raise PredictionError(
                f"{what}. Which batches {type(self).__name__} has written is not known. Move {part.progress} and"
                f" {self.path} away, and predict anew"
            )
        run_log.warning("%s. What follows is predicted again", what)

    def on_predict_start(self, trainer: Any, pl_module: Any) -> None:
        """Open the part of this process; the first writer of several sets the dataloaders to where they go on."""
        if self._part is not None:
            if not self.rows_path.parent.is_dir():
                raise PredictionError(
                    f"process {self.rank} does not see {self.rows_path.parent}, which the first process made: the"
                    " processes of a prediction need a common file system"
                )
            begin = self._part.go_on if self._goes_on else self._part.create
            begin(self._about(trainer))
        writers = _writers(trainer)
        if self is writers[0]:
            last = min(writers, key=lambda writer: writer.next)
            if last.next > (0, 0):
                start_predicting_at(trainer, last.next, last.written_samples(last.next[0]))

    @property
    def next(self) -> Place:
        """The first batch that this writer still needs, as (dataloader, batch)."""
        return _END if self._part is None or self._part.ended else self._part.next

    def written_samples(self, loader: int) -> list[Any]:
        """For each complete batch of a dataloader, the indices of its samples; None where there are none."""
        return [batch.samples for _, batch in self._part.batches() if batch.place[0] == loader] if self._part else []

    def on_predict_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Write a batch, unless it is written."""
        place = (dataloader_idx, batch_idx)
        if place < self.next:
            return
        assert self._part is not None
        self.samples = predicted_samples(trainer, dataloader_idx, batch_idx)
        self._count, self._noted = len(self.samples or ()), {}
        self.write(outputs, batch, batch_idx, dataloader_idx)
        self._part.note(place, self._count, self.samples, self._noted)

    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        """Make the file whole, and give it its name."""
        if self._part is None:
            return
        self._part.end()
        trainer.strategy.barrier("the writers' parts")
        if trainer.is_global_zero:
            self.finish(self._parts(trainer.world_size))
        trainer.strategy.barrier("the writers' file")
        self.teardown(trainer, pl_module, "predict")

    def finish(self, parts: list[Part]) -> None:
        """Make of the parts of all processes what the user asked for. Called in the first process."""
        if self.format is not None:
            whole = self._merged(parts) if parts[0].rows is None or not self._is_whole(parts) else parts[0].rows
            parts[0].note_whole(whole)
            if not publish(whole, self.rows_path):
                raise PredictionError(
                    f"{self.rows_path} is there, and nothing is written over; the whole of it is {whole}"
                )
            sync_folder(self.rows_path.parent)
        for part in parts:
            part.remove()
        log.info("%s: %d samples", self.path, sum(part.samples for part in parts))

    def _is_whole(self, parts: list[Part]) -> bool:
        """Whether the first part is the file."""
        return self.format.suffix is None and parts[0].header is not None and is_in_order(parts)  # type: ignore[union-attr]

    def _merged(self, parts: list[Part]) -> Path:
        assert self.format is not None
        header = next((part.header for part in parts if part.header is not None), None)
        merged = paths.merging(self.rows_path)
        self.format.write(
            merged, self.format.header(None) if header is None else header, in_order(parts, self.format.split)
        )
        sync(merged)
        return merged

    def _parts(self, world_size: int) -> list[Part]:
        """The parts of all processes.

        Raises:
            PredictionError: one is not there, or has not ended.
        """
        parts = [self._part_of(rank) for rank in range(world_size)]
        for rank, part in enumerate(parts):
            if part.progress.exists():
                part.load()
            if not part.ended:
                raise PredictionError(
                    f"{self.path} cannot be made whole: process {rank} has not ended its part, {part.progress}, or it"
                    " is on another file system. The parts are left as they are"
                )
        return parts

    def _see_that_it_is_whole(self, trainer: Any) -> None:
        """Of a file that is there when a prediction goes on; takes away what its parts left in their last moment.

        Raises:
            PredictionError: the file is somebody else's, and the rows of this prediction have not got their name.
        """
        first = self._part_of(0)
        if first.progress.exists() and self.format is not None and not first.is_whole(self.rows_path):
            raise PredictionError(
                f"{self.rows_path} is there, but not from this prediction, whose rows are in {first.rows}: move it away"
            )
        log.info("%s is there: nothing is left to do for it", self.rows_path)
        if self.format is not None and trainer.is_global_zero:
            paths.merging(self.rows_path).unlink(missing_ok=True)
            for rank in range(trainer.world_size):
                self._part_of(rank).remove()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Leave what is written as it is, and say how to go on."""
        part = self._part
        if part is not None and part.is_open and part.samples and self.rank == 0:
            log.info("%s is not whole: %d samples are in %s", self.path, part.samples, part.rows or part.progress)
            if self is _writers(trainer)[-1]:
                log.info("to go on: lighter predict --resume %s", trainer.default_root_dir)
        self.teardown(trainer, pl_module, "predict")

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Close what is open."""
        if self._part is not None:
            self._part.close()
            self._part = None

    def about(self) -> dict[str, Any]:
        """What must be the same in a run that goes on, besides the trainer's processes and data."""
        return {"writer": type(self).__name__}

    def _about(self, trainer: Any) -> dict[str, Any]:
        about = {
            **self.about(),
            "processes": trainer.world_size,
            "batches": [None if number == float("inf") else number for number in trainer.num_predict_batches],
            "checkpoint": _identity(trainer.ckpt_path),
        }
        return dict(json.loads(json.dumps(about)))

    def _part_of(self, rank: int) -> Part:
        rows = paths.partial(self.rows_path, rank, self.format.suffix) if self.format is not None else None
        return Part(rows, paths.progress(self.rows_path, rank))

    def _forbid_two_of_a_path(self, trainer: Any) -> None:
        root = Path(trainer.default_root_dir).absolute()
        others = [writer for writer in _writers(trainer) if writer is not self and root / writer.path == self.path]
        if others:
            raise PredictionError(
                f"{type(self).__name__} and {type(others[0]).__name__} both write {self.path}: give each a path of"
                " its own"
            )


def _identity(checkpoint: str | os.PathLike[str] | None) -> Any:
    """Identify a checkpoint by its content, wherever it is; a URL stands for itself."""
    if checkpoint is None or not os.path.exists(checkpoint):
        return checkpoint if checkpoint is None else os.fspath(checkpoint)
    path, found = os.path.abspath(checkpoint), os.stat(checkpoint)
    if os.path.isdir(path):
        return {"path": path, "modified": found.st_mtime_ns}
    return {"path": path, "bytes": found.st_size, "crc": crc_of(Path(path), end=_TELLING)}


def _writers(trainer: Any) -> list[BaseWriter]:
    return [callback for callback in trainer.callbacks if isinstance(callback, BaseWriter)]
