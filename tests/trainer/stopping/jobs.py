"""Fits that send themselves a signal."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

import lighter
from lighter.processes.signals import Stopped
from tests.jobs import loader

NAMES = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")


class Sends(pl.Callback):
    """Sends this process a signal, the first time that a hook is called at a batch or later."""

    def __init__(self, hook: str, name: str = "SIGTERM", batch: int = 0) -> None:
        self.name, self.batch, self.called, self.after = name, batch, 0, []
        setattr(self, hook, self.send)

    def send(self, trainer: Any, *_: Any, **__: Any) -> None:
        if self.called == self.batch:
            signal.raise_signal(signal.Signals[self.name])
        self.called += 1
        self.after.append(trainer.global_step)


class Module(pl.LightningModule):
    """Has all steps, and logs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(64, 10)

    def training_step(self, batch: Any) -> Any:
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.net(batch[0])

    test_step = predict_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(callbacks: Any, folder: Path | None = None, **options: Any) -> lighter.Trainer:
    options = {"accelerator": "cpu", "max_epochs": 2, "logger": False, "enable_model_summary": False, **options}
    return lighter.Trainer(default_root_dir=folder, callbacks=callbacks, **options)


def fit(trainer: Any) -> None:
    trainer.fit(Module(), loader(0, 128), loader(128, 192))


def expected(name: str) -> Any:
    return pytest.raises(KeyboardInterrupt if name == "SIGINT" else Stopped)


def sending(stage: str, name: str) -> dict[str, Any]:
    hook = {"fit": "train", "validate": "validation"}.get(stage, stage)
    return {"_target_": "tests.trainer.stopping.jobs.Sends", "hook": f"on_{hook}_batch_start", "name": name,
            "batch": 2 if stage == "fit" else 0}  # fmt: skip
