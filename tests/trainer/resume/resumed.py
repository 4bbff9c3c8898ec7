"""Small fits that go on from each moment at which a checkpoint was saved, beside the fit that nobody cut short."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import lighter
from tests.faults.outcome import differing

BATCHES, BATCH = 4, 3  # of an epoch; samples of one


def drawn(index: int) -> tuple[Tensor, int, Tensor]:
    """A sample, with a number from each of the global generators."""
    numbers = torch.tensor([random.random(), float(np.random.rand()), float(torch.rand(()))], dtype=torch.float64)
    return torch.arange(4) * (index + 1.0) / 40 + numbers.sum().float(), index, numbers


class Samples(Dataset):
    def __len__(self) -> int:
        return BATCHES * BATCH

    def __getitem__(self, index: Any) -> tuple[Tensor, int, Tensor]:
        return drawn(int(index))


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
    """What is fitted, made anew for each fit."""

    module: Any = field(default_factory=Module)
    train: Any = field(default_factory=lambda: DataLoader(Samples(), BATCH, shuffle=True))
    val: Any = field(default_factory=lambda: DataLoader(Samples(), 2 * BATCH))
    trainer: dict[str, Any] = field(default_factory=dict)


class Watch(Checkpoint):
    """Notes what each step gets and gives and, if asked, saves at every moment that has a hook."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.notes: list[Any] = []
        self.cuts: list[tuple[Path, int]] = []
        self.noted_before = 0  # the validation that runs

    def save(self, trainer: Any, moment: str, noted: int | None = None) -> None:
        if self.folder is not None:
            path = self.folder / f"{len(self.cuts):02d}-{moment}.ckpt"
            trainer.save_checkpoint(path)
            self.cuts.append((path, len(self.notes) if noted is None else noted))

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self.save(trainer, "next")

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.notes.append(("train", trainer.current_epoch, batch_idx, _seen(batch), _seen(outputs)))
        self.save(trainer, "batch")

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        self.noted_before = len(self.notes)

    def on_validation_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not trainer.sanity_checking:
            self.notes.append(("val", trainer.current_epoch, batch_idx, _seen(batch)))
            if batch_idx == 0:
                self.save(trainer, "validating", self.noted_before)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        if not trainer.sanity_checking:
            self.save(trainer, "validation")

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.notes.append(("epoch", trainer.current_epoch, trainer.global_step))
        self.save(trainer, "epoch")


def _seen(values: Any) -> Any:
    return [float(leaf.detach().double().sum()).hex() for leaf in torch.utils._pytree.tree_leaves(values)
            if isinstance(leaf, Tensor)]  # fmt: skip


def fit(make: Callable[[], Job], watch: Watch, ckpt_path: Path | None = None) -> Any:
    """Make a job and fit it; returns its trainer."""
    pl.seed_everything(5, verbose=False)
    job = make()
    quiet = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": True,
             "enable_progress_bar": False, "enable_model_summary": False, "max_epochs": 3}  # fmt: skip
    given = {**quiet, **job.trainer}
    trainer = lighter.Trainer(**{**given, "callbacks": [*given.get("callbacks", []), watch]})
    trainer.fit(job.module, job.train, job.val, ckpt_path=ckpt_path and str(ckpt_path))
    return trainer


def end(trainer: Any) -> dict[str, Any]:
    """All that a fit comes to."""
    return {
        "weights": trainer.lightning_module.state_dict(),
        "optimizers": [one.state_dict() for one in trainer.optimizers],
        "schedulers": [one.scheduler.state_dict() for one in trainer.lr_scheduler_configs],
        "progress": trainer.fit_loop.epoch_loop.batch_progress.state_dict(),
        "validations": trainer.fit_loop.epoch_loop.val_loop.counts(),
        "switches": trainer.fit_loop.switches.state(trainer, in_evaluation_mode=trainer.validating),
        "values": dict(trainer.callback_metrics),
        "steps": trainer.global_step,
    }


def broken(make: Callable[[], Job], folder: Path) -> dict[str, Any]:
    """Whatever differs in the fits that go on from each moment of a fit; nothing if they are exact."""
    whole = Watch(folder)
    expected, found = end(fit(make, whole)), {}
    for path, noted in whole.cuts:
        watch = Watch(None)
        trainer = fit(make, watch, path)
        differs = list(differing(expected, end(trainer), ""))
        if watch.notes != whole.notes[noted:]:
            differs.append(f"{len(watch.notes)} notes for {len(whole.notes) - noted}")
        if differs:
            found[path.stem] = differs
    assert len(whole.cuts) > BATCHES
    return found
