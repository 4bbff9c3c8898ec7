"""The losses of a fit's first steps, exactly: `lighter reproduce --verify` compares them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback, LightningModule

from lighter.files.atomic import write_whole
from lighter.runs.record import CHECKPOINT_KEY

log = logging.getLogger("lighter.runs")

FIRST = 100  # losses
# In a checkpoint of ours: how many of the first losses there were.
_LOSSES = "losses"


class FirstLosses(Callback):
    """Keep the losses of a fit's first steps on their device, write them down all at once, and leave the trainer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._losses: list[torch.Tensor] | None = []  # None: no more are kept
        self._earlier: list[str] = []
        self._count_at_checkpoint: int | None = None
        self._has_warned = False

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        ours = checkpoint.get(CHECKPOINT_KEY)
        count = ours.get(_LOSSES) if isinstance(ours, Mapping) else None
        self._count_at_checkpoint = count if isinstance(count, int) else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        # A resumed run keeps the losses that it had by its checkpoint.
        count = self._count_at_checkpoint
        if count is not None:
            rows = self.path.read_text(encoding="utf-8").splitlines()[1:] if self.path.is_file() else []
            self._earlier = rows[:count]
            self._losses = [] if len(rows) >= count else None
        elif self.path.exists() or trainer.global_step > 0:
            self._losses = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._losses is None:
            return
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            self._losses = None
            return
        # The value that is propagated back.
        self._losses.append(loss.detach().reshape(()))
        if len(self._earlier) + len(self._losses) == FIRST:
            # From here on a step costs nothing.
            self._end()
            others = [callback for callback in trainer.callbacks if callback is not self]  # type: ignore[attr-defined]
            trainer.callbacks = others  # type: ignore[attr-defined]

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # The device is waited for now anyway, and the process may be killed before the end.
        self._write()
        if self._losses is not None:
            count = {_LOSSES: len(self._earlier) + len(self._losses)}
            checkpoint[CHECKPOINT_KEY] = {**checkpoint.get(CHECKPOINT_KEY, {}), **count}

    def on_train_end(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self._end()

    def on_exception(self, trainer: pl.Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._end()

    def _end(self) -> None:
        self._write()
        self._losses = None

    def _write(self) -> None:
        if not self._losses:
            return
        try:
            values = torch.stack([loss.double() for loss in self._losses]).tolist()
            rows = [f"{step},{value!r}" for step, value in enumerate(values, len(self._earlier))]
            write_whole(self.path, "\n".join(["step,loss", *self._earlier, *rows, ""]))
        except Exception as error:  # noqa: BLE001  a run is worth more than its record
            if not self._has_warned:
                log.warning("the first losses are not recorded: %s", error)
            self._has_warned = True
