"""A callback that looks at each batch of an evaluation, the same in validation and test."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import Callback, LightningModule


class EvaluationCallback(Callback):
    """Call `begin`, `add` for each batch, and `end`, with the mode: `val` or `test`."""

    @abstractmethod
    def begin(self, trainer: pl.Trainer, mode: str) -> None:
        """Begin an evaluation."""

    @abstractmethod
    def add(
        self, trainer: pl.Trainer, module: LightningModule, mode: str, outputs: Any, batch: Any, loader: int
    ) -> None:
        """Take a batch of the dataloader number `loader`, and what the step returned for it."""

    @abstractmethod
    def end(self, trainer: pl.Trainer, mode: str) -> None:
        """End an evaluation, in all processes."""

    def on_validation_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self.begin(trainer, "val")

    def on_test_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self.begin(trainer, "test")

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.add(trainer, pl_module, "val", outputs, batch, dataloader_idx)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.add(trainer, pl_module, "test", outputs, batch, dataloader_idx)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self.end(trainer, "val")

    def on_test_end(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self.end(trainer, "test")
