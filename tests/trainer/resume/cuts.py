"""A small fit that is saved at every hook, and gone on with from each of those checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch.utils.data import DataLoader, TensorDataset

from lighter import Trainer
from tests.lightning.compare import Rows
from tests.trainer.recording import describe

MOMENTS = (
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_batch_end",
    "on_validation_end",
    "on_train_epoch_end",
)


def cuts_callback(logger: Rows, place: Path, base: type = Checkpoint) -> Any:
    """A callback that saves at every moment, and has the files and how many rows there were then."""

    def hook(moment: str) -> Callable[..., None]:
        def save(self: Any, trainer: Any, *_: Any) -> None:
            if not trainer.sanity_checking:
                file = place / f"{len(self.cuts):02} {moment}.ckpt"
                trainer.save_checkpoint(file)
                self.cuts.append((file, len(logger.rows)))

        return save

    callback: Any = type("Cuts", (base,), {moment: hook(moment) for moment in MOMENTS})()
    callback.cuts = []
    return callback


def not_as_whole(make: Callable[[], pl.LightningModule], place: Path, **trainer: Any) -> list[str]:
    """The cuts from which a fit comes to other rows, weights or learning rates than one that nobody stopped.

    Args:
        make: the module, anew for each fit; its batches are lists of one tensor of shape (2,).
        trainer: its arguments; `callbacks` is a function that gives new ones.
    """
    rows = Rows()
    cuts = cuts_callback(rows, place)
    whole = _end(fit(make(), rows, cuts, **trainer))
    assert len(cuts.cuts) > len(MOMENTS)
    broken = []
    for file, seen in cuts.cuts:
        logger = Rows()
        resumed = fit(make(), logger, ckpt_path=file, **trainer)
        assert resumed.resume_choice.name == "exact"
        if _end(resumed) != whole or logger.rows != rows.rows[seen:]:
            broken.append(file.stem)
    return broken


def fit(module: Any, logger: Rows, *callbacks: Any, ckpt_path: Any = None, **given: Any) -> Trainer:
    """Train for 3 epochs of 3 steps."""
    pl.seed_everything(1, verbose=False)
    callbacks = (*given.pop("callbacks", list)(), *callbacks)
    saves = any(isinstance(callback, Checkpoint) for callback in callbacks)
    trainer = Trainer(**{"max_epochs": 3, "accelerator": "cpu", "devices": 1, "log_every_n_steps": 2,
                         "logger": [logger], "callbacks": [*callbacks], "enable_checkpointing": saves,
                         "enable_progress_bar": False, "enable_model_summary": False, **given})  # fmt: skip
    train, val = (DataLoader(TensorDataset(torch.arange(1.0, end)), 2) for end in (7, 5))
    trainer.fit(module, train, val, ckpt_path=ckpt_path)
    return trainer


def _end(trainer: Any) -> Any:
    optimizer = trainer.optimizers[0]
    rates = [group["lr"] for group in optimizer.param_groups]
    return describe([trainer.lightning_module.state_dict(), optimizer.state_dict(), rates])
