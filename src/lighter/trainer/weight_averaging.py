"""Averages of weights that have not begun are the weights themselves.

Lightning's `WeightAveraging` validates, saves and ends with its average. One that begins later, by
`update_starting_at_epoch` say, is a copy of the initial weights until then, and so is all that is made of it.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback, LightningModule

from lighter._lightning.callbacks import average_before_start


class AveragesFollow(Callback):
    """Copies the current weights into averages that have not begun: before they are validated, saved, or final.

    It comes before the callbacks that keep them.
    """

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self._follow(trainer, pl_module)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._follow(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self._follow(trainer, pl_module)

    def _follow(self, trainer: pl.Trainer, module: LightningModule) -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for average in filter(None, map(average_before_start, callbacks)):
            averaged = chain(average.module.parameters(), average.module.buffers())
            with torch.no_grad():
                for value, current in zip(averaged, chain(module.parameters(), module.buffers()), strict=False):
                    value.copy_(current)
