"""`Pictures`: log sheets of the same samples every few epochs, with their targets and predictions."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from lighter._lightning.steps import logging_step
from lighter.callbacks.evaluation.callback import EvaluationCallback
from lighter.callbacks.evaluation.fields import Fields, Names, find_fields
from lighter.callbacks.evaluation.loggers import log_picture
from lighter.callbacks.evaluation.samples import BatchSamples, SampleIndices, eval_loaders
from lighter.callbacks.evaluation.settings import Name, mistakes_in, refuse
from lighter.callbacks.evaluation.sheet import LEGEND, NEEDS_PILLOW, Tile, can_draw, overlaid, png, sheet
from lighter.callbacks.evaluation.shown import IMAGE, PREDICTION_MAP, TARGET_MAP, as_bytes, is_image_like, shows
from lighter.callbacks.evaluation.tally import numbers
from lighter.config.problems import nearest
from lighter.errors import MisfitError, ModuleTypeError, ModuleValueError
from lighter.files.atomic import write_whole
from lighter.files.run_folder import RunFolder
from lighter.files.storage import on_disk
from lighter.parts.describe import describe
from lighter.parts.metrics.arrays import to_numpy
from lighter.parts.metrics.synchronization import of_all_processes

log = logging.getLogger("lighter.runs")

MODES = ("val", "test")
_MOST_NUMBERS = 16  # of a sample, in the file beside a picture


@dataclass
class _Row:
    """A sample of a sheet."""

    index: int
    images: list[np.ndarray]
    target: Any
    prediction: Any
    has_outlines: bool = False


class Pictures(EvaluationCallback):
    """Save a sheet of inputs, targets and predictions every few epochs, and log it.

    The sheet is `pictures/val-epoch3-step40.png` in the trainer's folder, and beside it is a `.json` with the indices,
    targets and predictions. TensorBoard, W&B and MLflow get the same picture as `val/pictures`. The samples are the
    same each time. Inputs are images, or volumes, of which the middle slice is shown. A segmentation is drawn as
    outlines; a prediction that is an image itself is beside its input.

    Predictions, targets and inputs are found as for `EvaluationReport`. Nothing is written in the sanity check and by
    `fast_dev_run`; a picture that cannot be written or logged is a warning.

    Args:
        every_n_epochs: of a fit. `validate` and `test` always make a sheet.
        samples: how many: the first of the first dataloader.
        mode: `val` or `test`.
        indices: of the samples in the dataset, in place of the first ones.
        classes: the names of the classes, or how many there are, as `EvaluationReport` has it.

    Raises:
        ModuleTypeError: an argument of the wrong type.
        ModuleValueError: an unknown mode, or a number that is too small.
        MisfitError: at the first batch: there are no predictions or targets, or the inputs are no images.
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        samples: int = 8,
        mode: str = "val",
        indices: Sequence[int] | None = None,
        classes: Sequence[str] | int | None = None,
        pred: Name = None,
        target: Name = None,
        input: Name = None,
    ) -> None:
        for name, count in {"every_n_epochs": every_n_epochs, "samples": samples}.items():
            if type(count) is not int or count < 1:
                raise ModuleValueError(f"`{name}` is a whole number from 1 on; found {describe(count)}", name)
        if mode not in MODES:
            raise ModuleValueError(f"`mode` is unknown: {mode!r}. {nearest(mode, MODES)}", "mode")
        if indices is not None:
            _check_indices(indices)
        for name, value in {"classes": classes, "pred": pred, "target": target, "input": input}.items():
            if value is not None:
                refuse(mistakes_in(name, value))
        self.every_n_epochs, self.mode = every_n_epochs, mode
        # without given ones, the first of what the dataloader has
        self._are_first = indices is None
        self.indices = list(range(samples)) if indices is None else [*indices]
        # their number alone names nothing
        self.classes = None if classes is None or isinstance(classes, int) else [str(name) for name in classes]
        self.names = Names(pred, target, input)
        self._rows: dict[int, _Row] = {}
        self._samples: SampleIndices | None = None
        self._end_of_samples = 0  # the position after the last one of a sheet
        self._is_due = self._has_failed = False
        self._warned: set[str] = set()

    def begin(self, trainer: pl.Trainer, mode: str) -> None:
        is_epoch = trainer.state.fn != "fit" or trainer.current_epoch % self.every_n_epochs == 0
        self._is_due = mode == self.mode and (trainer.sanity_checking or is_epoch)
        self._rows, self._has_failed = {}, False
        if self._is_due:
            loaders = eval_loaders(trainer, mode)
            self._samples = SampleIndices(loaders[0] if loaders else None)
            self._end_of_samples = self._samples.end_of(self.indices, in_dataset=not self._are_first)

    def add(
        self, trainer: pl.Trainer, module: LightningModule, mode: str, outputs: Any, batch: Any, loader: int
    ) -> None:
        if not self._is_due or self._samples is None or loader:
            return
        is_first = self._samples.position == 0
        # most batches are after the samples of a sheet
        if not is_first and self._samples.position >= self._end_of_samples:
            return
        try:
            if outputs is None and not is_first:
                self._samples.skip()
                return
            fields = find_fields(module, self.mode, outputs, batch, self.names)
            size = len(fields.pred)
            if not is_image_like(_first_image(fields.input, size), size):
                message = f"pictures are of images, and the inputs are {describe(fields.input)}. {_HINT}"
                raise MisfitError(message)
            self._choose(fields, self._samples.next(size))
        except Exception as error:
            if is_first:
                raise
            self._has_failed = True
            self._warn(f"pictures of {self.mode} are left out: {type(error).__name__}: {error}")

    def _choose(self, fields: Fields, samples: BatchSamples) -> None:
        numbers = samples.numbers if self._are_first else samples.indices
        wanted = np.isin(numbers, self.indices)
        if samples.is_first is not None:
            wanted &= samples.is_first
        positions = np.flatnonzero(wanted)
        if not len(positions):
            return
        chosen = torch.from_numpy(positions).to(fields.pred.device)
        for number, row in zip(numbers[positions], _rows(fields, chosen, samples.indices[positions]), strict=True):
            self._rows.setdefault(int(number), row)

    def end(self, trainer: pl.Trainer, mode: str) -> None:
        rows, self._rows = self._rows, {}
        is_trial = trainer.sanity_checking or bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
        if not self._is_due or is_trial:
            return
        everybodys = of_all_processes((rows, self._has_failed))
        if not trainer.is_global_zero or any(failed for _, failed in everybodys):
            return
        # without indices each process counts from zero, and the first one's samples are shown
        found = {index: row for theirs, _ in reversed(everybodys) for index, row in theirs.items()}
        kept = [found[index] for index in self.indices if index in found]
        if not kept:
            self._warn(f"no sample of {mode} has one of the indices {self.indices}: there are no pictures")
            return
        missing = [index for index in self.indices if index not in found]
        if missing and not self._are_first:
            self._warn(f"no sample of {mode} has one of the indices {missing}: the pictures are of the others")
        if not can_draw():
            self._warn(NEEDS_PILLOW)
        else:
            self._save(trainer, mode, kept)

    def _save(self, trainer: pl.Trainer, mode: str, rows: Sequence[_Row]) -> None:
        has_outlines = any(row.has_outlines for row in rows)
        pixels = sheet([self._tile(row) for row in rows], LEGEND if has_outlines else "")
        root = on_disk(trainer.default_root_dir)
        try:
            if root is None:
                self._warn(f"pictures are kept on disks only, not in {trainer.default_root_dir}")
            else:
                self._write(RunFolder(root).pictures, trainer, mode, rows, pixels)
        except OSError as error:  # a full disk: a training is worth more
            self._warn(f"pictures of {mode} could not be written: {error}")
        for logger in trainer.loggers:
            try:
                log_picture(logger, f"{mode}/pictures", pixels, logging_step(trainer))
            except Exception as error:  # noqa: BLE001  nor is a tracker worth a training
                self._warn(f"{type(logger).__name__} took no picture: {error}")

    def _write(self, folder: Path, trainer: pl.Trainer, mode: str, rows: Sequence[_Row], pixels: np.ndarray) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        epoch, step = trainer.current_epoch, trainer.global_step
        path = folder / f"{mode}-epoch{epoch}-step{step}.png"
        write_whole(path, png(pixels))
        entries = [{"index": row.index, "target": self._named(row.target), "prediction": self._named(row.prediction)}
                   for row in rows]  # fmt: skip
        facts = {"mode": mode, "epoch": epoch, "step": step, "rows": entries}
        write_whole(path.with_suffix(".json"), json.dumps(facts, allow_nan=False))

    def _tile(self, row: _Row) -> Tile:
        values = {"target": self._named(row.target), "prediction": self._named(row.prediction)}
        lines = [f"{name}: {_short(value)}" for name, value in values.items() if value is not None]
        return Tile(row.images, [f"#{row.index}", *lines])

    def _named(self, value: Any) -> Any:
        is_class = self.classes is not None and type(value) is int and 0 <= value < len(self.classes)
        return self.classes[value] if is_class and self.classes is not None else value

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            log.warning("%s", message)


_HINT = "Name the key of the images, or their place in the batch: `input: image`"


def _check_indices(indices: Sequence[int]) -> None:
    is_list = isinstance(indices, Sequence) and len(indices) > 0
    if not is_list or not all(type(index) is int and index >= 0 for index in indices):
        raise ModuleTypeError(f"`indices` are numbers of samples from 0 on; found {describe(indices)}", "indices")
    twice = sorted({index for index in indices if indices.count(index) > 1})
    if twice:
        raise ModuleValueError(f"`indices` names each sample once; more than once: {twice}", "indices")


def _first_image(input: object, size: int) -> object:
    values = input.values() if isinstance(input, dict) else input if isinstance(input, (list, tuple)) else [input]
    return next((value for value in values if is_image_like(value, size)), None)


def _rows(fields: Fields, positions: Tensor, indices: np.ndarray) -> list[_Row]:
    """Return the rows of the samples at some positions of a batch."""
    size = len(fields.pred)
    pred, target = fields.pred[positions], None if fields.target is None else fields.target[positions]
    image = _first_image(fields.input, size)
    maps = None
    if fields.target is not None and target is not None and is_image_like(pred, len(pred)) and _is_map(target):
        maps = _as_classes(fields.target), _as_classes(fields.pred)
    shown = {name: to_numpy(value) for name, value in shows(image, size, maps)(positions).items()}
    columns: list[list[np.ndarray]] = [[*shown[IMAGE]]]
    if maps is not None:
        pairs = zip(shown[IMAGE], shown[TARGET_MAP], shown[PREDICTION_MAP], strict=True)
        columns.append([overlaid(*each) for each in pairs])
    else:
        columns += [
            [*to_numpy(as_bytes(each))]
            for each in (target, pred)
            if each is not None and is_image_like(each, len(each))
        ]
    are_numbers = target is None or pred.shape == target.shape
    nothing = [None] * len(indices)
    targets, predictions = (
        nothing if maps is not None or each is None else _values(each, are_numbers=are_numbers)
        for each in (target, pred)
    )
    return [
        _Row(int(index), [column[number] for column in columns], targets[number], predictions[number], maps is not None)
        for number, index in enumerate(indices)
    ]


def _is_map(target: Tensor) -> bool:
    """Return whether a target has the class of each pixel, or a mask, rather than an image."""
    return is_image_like(target, len(target)) and (
        not target.is_floating_point() or bool(((target == 0) | (target == 1)).all())
    )


def _as_classes(value: Tensor) -> Tensor:
    """Return the class of each pixel."""
    if value.ndim >= 4 and value.shape[1] > 1 and value.is_floating_point():
        return value.argmax(1)
    value = value[:, 0] if value.ndim >= 4 and value.shape[1] == 1 else value
    if not value.is_floating_point():
        return value.long()
    is_logit = (value < 0).any() | (value > 1).any()
    return (value >= torch.where(is_logit, 0.0, 0.5)).long()


def _values(value: Tensor, *, are_numbers: bool) -> list[Any]:
    """Return the entry of each sample in the file: a class, a number, a few numbers, or nothing."""
    if not are_numbers and value.ndim == 2 and value.shape[1] > 1 and value.is_floating_point():
        return [int(each) for each in value.nan_to_num(-torch.inf).argmax(1)]
    value = value.reshape(len(value), -1)
    if value.shape[1] == 1:
        return numbers(to_numpy(value)) if value.is_floating_point() else [int(each) for each in value[:, 0]]
    if value.shape[1] <= _MOST_NUMBERS:
        return [numbers(each) for each in to_numpy(value)]
    return [None] * len(value)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(_short, value)) if isinstance(value, list) else str(value)
