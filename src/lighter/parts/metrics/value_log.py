"""Log the values of steps and epochs, through Lightning and its loggers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor

from lighter._lightning.modules import AttachedModule, log_again
from lighter._lightning.steps import logging_step
from lighter.parts.metrics.log_names import at_epoch, at_step, loss_name, metric_name
from lighter.parts.metrics.meter import EpochValue, Meter, values_of

ALL_VALUES = "{mode}/values"  # the name of a process's share of the sums of an epoch


class MeasuredModule(AttachedModule, Protocol):
    """The module whose steps are measured; it has `train_metrics`, `val_metrics` and `test_metrics` too."""

    automatic_optimization: bool

    @property
    def trainer(self) -> pl.Trainer: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def log(self) -> Callable[..., None]: ...

    def count_samples(self, batch: object) -> int | None: ...

    def call_logging_hook(self, outputs: dict[str, Any], batch_idx: int | None) -> None: ...


class MeasuredStep(NamedTuple):
    """A step that has run, and whether its values are logged."""

    meter: Meter
    mode: str
    loader_idx: int
    batch: Any
    losses: Mapping[str, Tensor]
    batch_values: Any
    wanted: bool


class ValueLog:
    """Log the values of a module's steps and epochs."""

    def __init__(self, module: MeasuredModule) -> None:
        self._module = module

    def announce(self, meter: Meter, mode: str, names: Collection[str]) -> None:
        """Tell Lightning, once an epoch, which values it will have; it asks for them when the epoch is over."""
        for name in names:
            shown = mode != "train" or name.startswith("loss")
            self.log_epoch_value(at_epoch(mode, name), meter.announce(name), shown=shown)

    def log_epoch_value(self, name: str, value: EpochValue, *, shown: bool) -> None:
        """Give Lightning a value of the epoch, which it computes when that is over."""
        module = self._module
        # `batch_size` keeps Lightning from searching the batch; the value weighs its batches itself
        if not log_again(module, name, value):
            module.log(name, value, on_step=False, on_epoch=True, prog_bar=shown, batch_size=1, metric_attribute=name)

    def log_step(self, step: MeasuredStep) -> None:
        """Give the values of this step to the loggers and the progress bar: the one transfer to the host."""
        values = {loss_name(name): loss for name, loss in step.losses.items()}
        if step.meter.metrics is not None and step.batch_values is not None:
            numbers_of_batch = values_of(step.meter.metrics, step.batch_values).numbers
            values |= {metric_name(name): value for name, value in numbers_of_batch.items()}
        if not values:
            return
        trainer, mode = self._module.trainer, step.mode
        suffix = loader_suffix(trainer, mode, step.loader_idx)
        # metrics may compute on the CPU; stacked on one device, all values are read by one transfer
        device = next(iter(values.values())).device
        numbers = torch.stack([value.detach().float().to(device) for value in values.values()]).tolist()
        row = {at_step(mode, name) + suffix: number for name, number in zip(values, numbers, strict=True)}
        # validations are counted by themselves: the training's step would be the same for all of their batches
        number = logging_step(trainer) if mode == "train" else step.meter.steps_seen
        self.publish(row, number, for_callbacks=mode == "train")
        if mode == "train":
            trainer.progress_bar_metrics.update({name: number for name, number in row.items() if "/loss/" in name})

    def publish(self, row: Mapping[str, float], step: int, *, for_callbacks: bool) -> None:
        """Give numbers to the loggers, and to callbacks if that is asked for."""
        trainer = self._module.trainer
        tensors = {name: torch.tensor(number, dtype=torch.float64) for name, number in row.items()}
        trainer.logged_metrics.update(tensors)
        if for_callbacks:
            trainer.callback_metrics.update(tensors)
        for logger in trainer.loggers:
            logger.log_metrics({**row, "epoch": trainer.current_epoch}, step=step)

    def log_late(self, mode: str, suffix: str, values: Mapping[str, Tensor], *, sync_dist: bool = False) -> None:
        """Log values of an epoch when it is over; with `sync_dist`, their means over processes."""
        with warnings.catch_warnings():  # the values are those of all processes, and not all of them may log them
            warnings.filterwarnings("ignore", "It is recommended to use .*sync_dist=True")
            for name, value in values.items():
                self._module.log(
                    at_epoch(mode, name) + suffix,
                    value.float(),
                    on_epoch=True,
                    prog_bar=mode != "train",
                    batch_size=1,
                    add_dataloader_idx=False,  # it stands in the name: Lightning knows of none when an epoch ends
                    sync_dist=sync_dist,
                )


def loader_count(trainer: pl.Trainer, mode: str) -> int:
    return {"train": 1, "val": len(trainer.num_val_batches), "test": len(trainer.num_test_batches)}[mode]


def loader_suffix(trainer: pl.Trainer, mode: str, loader_idx: int) -> str:
    """Return the end of the names of a dataloader's values, where there are several."""
    return f"/dataloader_idx_{loader_idx}" if loader_count(trainer, mode) > 1 else ""
