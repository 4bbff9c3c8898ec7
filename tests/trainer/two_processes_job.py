"""What `test_same_on_two_processes.py` runs in a process of its own: a fit on two processes, recorded."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

import lighter
from tests.trainer.fits import SEEN, own_arguments, shuffled, val_loaders
from tests.trainer.recording import Net, Recording, RecordingLogger, describe, recording_callback, recording_module

TRAINERS = {"lightning": pl.Trainer, "lighter": lighter.Trainer}


class Dumping(pl.Callback):
    """Leaves what a process recorded in a file, at the end of a fit."""

    def __init__(self, recording: Recording, folder: Path) -> None:
        self.recording, self.folder = recording, folder

    def on_fit_end(self, trainer: Any, module: Any) -> None:
        weights = describe(module.state_dict())
        (self.folder / f"{trainer.global_rank}.txt").write_text(repr([self.recording.events, weights]))


def main(name: str, accumulate: int, hooks: str, folder: Path) -> None:
    recording = Recording()
    torch.manual_seed(5)
    trainer = TRAINERS[name](
        accelerator="cpu",
        devices=2,
        strategy="ddp_fork",
        max_epochs=2,
        accumulate_grad_batches=accumulate,
        log_every_n_steps=2,
        callbacks=[recording_callback(recording, SEEN[hooks][0]), Dumping(recording, folder)],
        logger=RecordingLogger(recording, folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        **own_arguments(TRAINERS[name]),
    )
    trainer.fit(recording_module(Net, recording, SEEN[hooks][1])(recording), shuffled(), val_loaders())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
