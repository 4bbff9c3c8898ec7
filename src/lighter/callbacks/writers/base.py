"""`BaseWriter`: the callback behind all writers, which knows where, when and which samples are written.

setup               check that nothing is at the path; to resume, load what a stopped prediction has written
on_predict_start    open the part of this process; to resume, leave out the batches that are complete
on_predict_batch_end  `write`, then note that the batch is complete
on_predict_end      make one file of the parts of all processes
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
from pytorch_lightning import Callback

from lighter._lightning.prediction import predicted_samples, start_predicting_at
from lighter.callbacks.writers.disk import checkpoint_identity, publish
from lighter.callbacks.writers.formats import Format
from lighter.callbacks.writers.order import whole_file
from lighter.callbacks.writers.part import Part
from lighter.callbacks.writers.progress import BatchKey
from lighter.callbacks.writers.samples import columns
from lighter.errors import ModuleTypeError, ModuleValueError, PredictionError
from lighter.files import run_folder as paths
from lighter.files.atomic import sync_folder
from lighter.files.storage import is_remote, normal, on_disk
from lighter.parts.describe import describe

log = logging.getLogger("lighter")
run_log = logging.getLogger("lighter.runs")  # whose warnings are shown on the terminal

_END: BatchKey = (2**62, 0)


class BaseWriter(Callback):
    """Write what `predict_step` returns, batch by batch. Override `write`.

    Memory does not grow with the number of samples, and what the trainer returns is left alone (`return_predictions`
    decides that). If `resume` is true, a prediction that was stopped at any moment continues after its last complete
    batch: `write` is not called again for complete batches, and for one batch it may be called twice.

    Args:
        path: the file or folder to write, which must not exist. A relative path is in the trainer's
            `default_root_dir`, which is the run's folder in runs of `lighter`.

    Attributes:
        resume: whether to continue a stopped prediction; `lighter predict --resume` sets it.
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

    format: Format | None = None  # of the rows given to `add_rows`; None for a writer that writes all files in `write`
    path_argument: ClassVar = "path"  # as constructors call it, for messages

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            message = f"`{self.path_argument}` says where {type(self).__name__} writes; found {describe(path)}"
            raise ModuleTypeError(message)
        if is_remote(path):
            raise ModuleValueError(f"{type(self).__name__} writes to a disk; `{self.path_argument}` is {normal(path)}")
        self.path = on_disk(path) or Path(path)
        self.resume = self._resumes = False  # as asked; and if there is something to resume
        self.samples: list[int] | None = None
        self.rank = 0
        self._part: Part | None = None
        self._count = 0
        self._noted: dict[str, Any] = {}  # about the batch, beside its samples

    def write(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        """Write the `outputs` of `predict_step` for a batch, which are on their device."""
        raise NotImplementedError(
            f"{type(self).__name__} is to have `write(outputs, batch, batch_idx, dataloader_idx)`"
        )

    def columns(self, outputs: Any, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values under some keys of what `predict_step` returned: see `samples.columns`.

        An `identifier` of None, that of a `System` without `identifier_accessor`, is the sample's index in the dataset.
        """
        if self.samples is not None and isinstance(outputs, Mapping) and outputs.get("identifier", "") is None:
            outputs = {**outputs, "identifier": self.samples}
        return columns(outputs, keys, type(self).__name__)

    def add_rows(self, columns: Mapping[str, Any]) -> None:
        """Add rows to the file of a writer that has a `format`.

        Args:
            columns: by name, a value for each sample of the batch: a tensor on the host, an array or a list.

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
        # here and not when the part is opened, as the first batch may decide the columns' types
        if self._part.header is None:
            self._part.begin(self.format.header(columns))
        self._part.append(self.format.encode(columns, self._part.header or b""))
        self._count = count

    @property
    def rows_path(self) -> Path:
        """The file of the rows, which exists when the prediction is whole."""
        return self.path

    def has_begun(self, root: Path) -> bool:
        path = root / self.rows_path
        return path.exists() or paths.has_progress(path)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "predict":
            return
        self.rank = trainer.global_rank
        if is_remote(trainer.default_root_dir) and not self.path.is_absolute():
            raise PredictionError(
                f"{self.path} is to be on a disk, and the trainer's `default_root_dir` is {trainer.default_root_dir}:"
                " give the writer an absolute path"
            )
        root = Path(trainer.default_root_dir).absolute()
        # all processes take the first one's, as only that one knows the run's folder for certain
        self.path = Path(trainer.strategy.broadcast(str(root / self.path)))
        others = [writer for writer in writers_of(trainer) if writer is not self and root / writer.path == self.path]
        if others:
            raise PredictionError(
                f"{type(self).__name__} and {type(others[0]).__name__} both write {self.path}: give each a path of"
                " its own"
            )
        part = self._part = self._part_of(self.rank)
        # locked before anything is read: another process may still write it
        self._resumes = self.resume and part.take()
        if self.rows_path.exists() and not (self._resumes and self.format is None):
            if not self.resume:
                raise PredictionError(f"{self.rows_path} is there, and nothing is written over: name another path")
            self._see_that_it_is_whole(trainer)
            self.teardown(trainer, pl_module, stage)
        elif self._resumes:
            part.load(self._damaged_in)
            self._report_damage(part)
        elif trainer.is_global_zero:
            self.rows_path.parent.mkdir(parents=True, exist_ok=True)

    def _damaged_in(self, note: Mapping[str, Any]) -> Path | None:
        """Return the first file that `write` made of a batch, beside its rows, that differs from its note."""
        return None  # of other writers, only the rows are known

    def _report_damage(self, part: Part) -> None:
        if part.damaged is None:
            return
        damage = f"{part.damaged} is not as it was written, after {part.samples} samples"
        if self.format is None:  # a writer of the user's, which need not expect a batch that it has written
            raise PredictionError(
                f"{damage}. Which batches {type(self).__name__} has written is not known. Move {part.progress} and"
                f" {self.path} away, and predict again"
            )
        run_log.warning("%s. What follows is predicted again", damage)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._part is not None:
            if not self.rows_path.parent.is_dir():
                raise PredictionError(
                    f"process {self.rank} does not see {self.rows_path.parent}, which the first process made: the"
                    " processes of a prediction need a common file system"
                )
            about = {
                **self.about(),
                "processes": trainer.world_size,
                "batches": [None if number == float("inf") else number for number in trainer.num_predict_batches],
                "checkpoint": checkpoint_identity(trainer.ckpt_path),
            }
            begin = self._part.resume if self._resumes else self._part.create
            begin(json.loads(json.dumps(about)))  # as it will be read back: tuples become lists
        # once for all writers, which have loaded their parts in `setup`; the one that is least far decides
        writers = writers_of(trainer)
        if self is writers[0]:
            last = min(writers, key=lambda writer: writer.next)
            if last.next > (0, 0):
                start_predicting_at(trainer, last.next, last.written_samples(last.next[0]))

    @property
    def next(self) -> BatchKey:
        """The first batch that this writer still needs."""
        return _END if self._part is None or self._part.ended else self._part.next

    def written_samples(self, loader: int) -> list[Any]:
        """Return the samples' indices of each complete batch of a dataloader; None if it has none."""
        return [batch.samples for _, batch in self._part.batches() if batch.key[0] == loader] if self._part else []

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        key = (dataloader_idx, batch_idx)
        if key < self.next:
            return
        assert self._part is not None
        self.samples = predicted_samples(trainer, dataloader_idx, batch_idx)
        self._count, self._noted = len(self.samples or ()), {}
        self.write(outputs, batch, batch_idx, dataloader_idx)
        self._part.note(key, self._count, self.samples, self._noted)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._part is None:
            return
        # synced before the barrier: the first process reads the other parts from the disk
        self._part.end()
        trainer.strategy.barrier("the writers' parts")
        if trainer.is_global_zero:
            parts = [self._part_of(rank) for rank in range(trainer.world_size)]
            for rank, part in enumerate(parts):
                if part.progress.exists():
                    part.load()
                if not part.ended:
                    raise PredictionError(
                        f"{self.path} cannot be made whole: process {rank} has not ended its part, {part.progress}, or"
                        " it is on another file system. The parts are left as they are"
                    )
            self.finish(parts)
        # no process goes on before the file is whole: what follows may read it
        trainer.strategy.barrier("the writers' file")
        self.teardown(trainer, pl_module, "predict")

    def finish(self, parts: list[Part]) -> None:
        """Make one file of the parts of all processes. Called in the first process."""
        if self.format is not None:
            whole = whole_file(parts, self.format, paths.merging(self.rows_path))
            # noted before it gets its name: a run that is killed in between knows the file for its own
            parts[0].note_whole(whole)
            if not publish(whole, self.rows_path):
                raise PredictionError(
                    f"{self.rows_path} is there, and nothing is written over; the whole of it is {whole}"
                )
            sync_folder(self.rows_path.parent)
        for part in parts:  # last: until the whole file is there, they are all that there is
            part.remove()
        log.info("%s: %d samples", self.path, sum(part.samples for part in parts))

    def _see_that_it_is_whole(self, trainer: pl.Trainer) -> None:
        first = self._part_of(0)
        if first.progress.exists() and self.format is not None and not first.is_whole(self.rows_path):
            raise PredictionError(
                f"{self.rows_path} is there, but not from this prediction, whose rows are in {first.rows}: move it away"
            )
        log.info("%s is there: nothing is left to do for it", self.rows_path)
        # what a run has left that was killed before it removed the parts
        if self.format is not None and trainer.is_global_zero:
            paths.merging(self.rows_path).unlink(missing_ok=True)
            for rank in range(trainer.world_size):
                self._part_of(rank).remove()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        part = self._part
        if part is not None and part.is_open and part.samples and self.rank == 0:
            log.info("%s is not whole: %d samples are in %s", self.path, part.samples, part.rows or part.progress)
            if self is writers_of(trainer)[-1]:
                log.info("to go on: lighter predict --resume %s", trainer.default_root_dir)
        self.teardown(trainer, pl_module, "predict")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._part is not None:
            self._part.close()
            self._part = None

    def about(self) -> dict[str, Any]:
        """Return what must be the same in a resumed run, besides the trainer's processes and data."""
        return {"writer": type(self).__name__}

    def _part_of(self, rank: int) -> Part:
        rows = paths.partial(self.rows_path, rank, self.format.suffix) if self.format is not None else None
        return Part(rows, paths.progress(self.rows_path, rank))


def writers_of(trainer: pl.Trainer) -> list[BaseWriter]:
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, BaseWriter)]
