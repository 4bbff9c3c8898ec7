"""Fits whose checkpoints are what is looked at: scores are given, and the disk can be made to fail."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

import lighter


class Scored(pl.LightningModule):
    """One step an epoch; the score of an epoch is given."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.layer, self.scores = nn.Linear(4, 1), scores

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.layer(batch).square().mean()

    def on_train_epoch_end(self) -> None:
        self.log("score", self.scores[self.current_epoch])

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.1)


class Disk:
    """A disk that fails when it is told to.

    Attributes:
        error: what it fails with; None while it does not.
        open: what a write waits for.
    """

    def __init__(self) -> None:
        self.error: int | None = None
        self.open = threading.Event()
        self.open.set()
        self._sync = os.fsync

    def fsync(self, file: int) -> None:
        self.open.wait(60)
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        self._sync(file)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    monkeypatch.setattr(os, "fsync", found.fsync)
    return found


def wait_for_disk(trainer: Any) -> None:
    """Wait until what is being written beside the training is written; nobody is told how that went."""
    files = trainer.saves.files
    if files is not None and files._saved is not None:
        wait([files._saved, *files._removed])


class At(pl.Callback):
    """Calls functions when epochs begin."""

    def __init__(self, calls: dict[int, Callable[[], None]]) -> None:
        self.calls = calls

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        wait_for_disk(trainer)  # what is saved is of the epochs before
        if trainer.current_epoch in self.calls:
            self.calls[trainer.current_epoch]()


def checkpoint(**kwargs: Any) -> ModelCheckpoint:
    given = {"monitor": "score", "filename": "{epoch}", "save_on_train_epoch_end": True, **kwargs}
    return ModelCheckpoint("checkpoints", auto_insert_metric_name=False, **given)


def trainer(*callbacks: Any, **kwargs: Any) -> lighter.Trainer:
    quiet = {"logger": False, "enable_model_summary": False, "enable_progress_bar": False, "accelerator": "cpu"}
    return lighter.Trainer(default_root_dir=".", callbacks=list(callbacks), **{**quiet, **kwargs})


def fit(scores: list[float], *callbacks: Any, **kwargs: Any) -> lighter.Trainer:
    """Train, an epoch for each score."""
    torch.manual_seed(1)
    found = trainer(*callbacks, max_epochs=len(scores), **kwargs)
    found.fit(Scored(scores), DataLoader(torch.arange(8.0).view(2, 4), batch_size=2))
    return found


def files() -> dict[str, int]:
    """The checkpoints that are there, each with its epoch, and whatever else is in the folder."""
    return {
        path.name: torch.load(path, weights_only=True)["epoch"] if path.suffix == ".ckpt" else -1
        for path in sorted(Path("checkpoints").iterdir())
    }


class FullDisk(pl.Callback):
    """From an epoch on the disk is full; each process writes down what its callbacks note."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == self.epoch:
            wait_for_disk(trainer)
            full = Disk()
            full.error = errno.ENOSPC
            os.fsync = full.fsync

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.on_fit_end(trainer, pl_module)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        notes = [[Path(path).name for path in callback.best_k_models] for callback in trainer.checkpoint_callbacks]
        Path(f"notes-{trainer.global_rank}.json").write_text(json.dumps([trainer.saves.failed, notes]))
