"""Rich's progress bar on one line, with the losses that have room; Lightning's breaks all metrics over lines."""

from __future__ import annotations

import shutil

import pytorch_lightning as pl
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import RichProgressBar

_BAR = 62  # columns that bar, numbers of batches, times and speed take
_VALUE = ": 0.123 "


class ProgressLine(RichProgressBar):
    """A progress bar with as many losses as fit beside it; the values of all epochs are in the log of the run."""

    def get_metrics(
        self, trainer: pl.Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return the values that are shown, by shortened names."""
        every = super().get_metrics(trainer, pl_module)
        losses = [name for name in every if "loss" in name]
        room = shutil.get_terminal_size().columns - _BAR
        shown: dict[str, int | str | float | dict[str, float]] = {}
        for name in [*losses, *(name for name in every if name not in losses)]:
            short = name.removesuffix("/epoch")
            room -= len(short) + len(_VALUE)
            if room < 0:
                break
            shown[short] = every[name]
        return shown
