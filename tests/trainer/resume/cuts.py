"""Fits that are saved at each moment that has a hook and resumed from there, beside the fit that nobody stopped."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import lighter
from tests.faults.outcome import differing

BATCHES, BATCH = 4, 3  # of an epoch; samples of one


class Samples(Dataset):
    """Samples with a number from each of the global generators."""

    def __len__(self) -> int:
        return BATCHES * BATCH

    def __getitem__(self, index: Any) -> tuple[Tensor, int, Tensor]:
        numbers = torch.tensor([random.random(), float(np.random.rand()), float(torch.rand(()))], dtype=torch.float64)
        return torch.arange(4) * (int(index) + 1.0) / 40 + numbers.sum().float(), int(index), numbers


class Module(pl.LightningModule):
    """A module of plain Lightning, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))

    def loss(self, batch: Any) -> Tensor:
        return self.network(batch[0]).square().mean() * (1 + torch.rand(()))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


@dataclass
class Job:
    """The objects of a fit, made anew for each."""

    module: Any = field(default_factory=Module)
    train: Any = field(default_factory=lambda: DataLoader(Samples(), BATCH, shuffle=True))
    val: Any = field(default_factory=lambda: DataLoader(Samples(), 2 * BATCH))
    trainer: dict[str, Any] = field(default_factory=dict)


class Rows(Logger):
    """Adds its rows to a list of notes."""

    name, version = "rows", "0"

    def __init__(self, notes: list[Any]) -> None:
        super().__init__()
        self.notes = notes

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.notes.append(("row", step, dict(metrics)))


class Watch(Checkpoint):
    """Notes the batch and the output of each step and, if it has a folder, saves at moments that have a hook.

    Args:
        folder: for the checkpoints.
        everywhere: whether it saves where epochs and validations start too, and at each batch of a validation.
    """

    def __init__(self, folder: Path | None, *, everywhere: bool = False) -> None:
        self.folder, self.everywhere = folder, everywhere
        self.notes: list[Any] = []
        self.cuts: list[tuple[Path, int]] = []  # and the number of notes before
        self.noted_before = 0  # the validation that runs

    def save(self, trainer: Any, moment: str, noted: int | None = None) -> None:
        if self.folder is not None and not trainer.sanity_checking:
            path = self.folder / f"{len(self.cuts):02d}-{moment}.ckpt"
            trainer.save_checkpoint(path)
            self.cuts.append((path, len(self.notes) if noted is None else noted))

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        if self.everywhere:
            self.save(trainer, "begun")

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self.save(trainer, "next")

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.notes.append(("train", trainer.current_epoch, batch_idx, _sums(batch), _sums(outputs)))
        self.save(trainer, "batch")

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        self.noted_before = len(self.notes)
        if self.everywhere:
            self.save(trainer, "validates")

    def on_validation_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not trainer.sanity_checking:
            self.notes.append(("val", trainer.current_epoch, batch_idx, _sums(batch)))
        if batch_idx == 0 or self.everywhere:
            self.save(trainer, "validating", self.noted_before)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        self.save(trainer, "validation")

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.notes.append(("epoch", trainer.current_epoch, trainer.global_step))
        self.save(trainer, "epoch")


def _sums(values: Any) -> Any:
    return [float(leaf.detach().double().sum()).hex() for leaf in torch.utils._pytree.tree_leaves(values)
            if isinstance(leaf, Tensor)]  # fmt: skip


def fit(make: Callable[[], Job], watch: Watch, ckpt_path: Path | str | None = None) -> Any:
    """Make a job and fit it; returns its trainer."""
    pl.seed_everything(5, verbose=False)
    job = make()
    quiet = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": True,
             "enable_progress_bar": False, "enable_model_summary": False, "max_epochs": 3}  # fmt: skip
    given = {**quiet, **job.trainer}
    if given["logger"]:
        given["logger"] = [Rows(watch.notes)]
    trainer = lighter.Trainer(**{**given, "callbacks": [*given.get("callbacks", []), watch]})
    trainer.fit(job.module, job.train, job.val, ckpt_path=ckpt_path and str(ckpt_path))
    return trainer


def end(trainer: Any) -> dict[str, Any]:
    """The outcome of a fit."""
    return {
        "weights": trainer.lightning_module.state_dict(),
        "optimizers": [one.state_dict() for one in trainer.optimizers],
        "schedulers": [one.scheduler.state_dict() for one in trainer.lr_scheduler_configs],
        "progress": trainer.fit_loop.epoch_loop.batch_progress.state_dict(),
        "validations": trainer.fit_loop.epoch_loop.val_loop.counts(),
        "attributes": trainer.fit_loop.attribute_changes.state(trainer, in_evaluation_mode=trainer.validating),
        "values": dict(trainer.callback_metrics),
        "steps": trainer.global_step,
    }


def broken(make: Callable[[], Job], folder: Path, *, everywhere: bool = False) -> dict[str, Any]:
    """The differences of fits that resume from each moment of a fit; none if they are exact."""
    whole = Watch(folder, everywhere=everywhere)
    expected, differences = end(fit(make, whole)), {}
    for path, noted in whole.cuts:
        watch = Watch(None)
        trainer = fit(make, watch, path)
        differs = list(differing(expected, end(trainer), ""))
        if watch.notes != whole.notes[noted:]:
            differs.append(f"{len(watch.notes)} notes for {len(whole.notes) - noted}")
        if everywhere and trainer.resume_choice.name != "exact":
            differs.append(str(trainer.resume_choice))
        if differs:
            differences[path.stem] = differs
    assert len(whole.cuts) > (7 if everywhere else BATCHES)
    return differences


def logged(make: Callable[[], pl.LightningModule], **trainer: Any) -> Callable[[], Job]:
    """A job of 3 steps an epoch whose rows count too.

    Args:
        make: the module, anew for each fit; its batches are lists of one tensor of shape (2,).
        trainer: its arguments; `callbacks` is a function that gives new ones.
    """

    def job() -> Job:
        train, val = (DataLoader(TensorDataset(torch.arange(1.0, end)), 2) for end in (7, 5))
        arguments = {"logger": True, "log_every_n_steps": 2, **trainer, "callbacks": trainer.get("callbacks", list)()}
        return Job(make(), train, val, arguments)

    return job


def not_as_whole(make: Callable[[], pl.LightningModule], folder: Path, **trainer: Any) -> dict[str, Any]:
    """The moments from which a resumed fit of such a job differs from one that nobody stopped."""
    return broken(logged(make, **trainer), folder, everywhere=True)
