"""Real fits of members, where their bits matter."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from lighter.experiments.executors.base import Task
from tests.conftest import digits_config


class Slow(pl.Callback):
    """Leave time to interrupt a small fit."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_batch_end(self, *_: Any) -> None:
        time.sleep(self.seconds)


def config_file(folder: Path, seconds: float, epochs: int = 4) -> Path:
    """Write the config of a fit that takes at least so long for a step, of which it has ten in an epoch."""
    config = digits_config()
    for loader in ("test_dataloader", "predict_dataloader"):
        del config["data"][loader]
    config["trainer"] |= {
        "max_epochs": epochs,
        "enable_progress_bar": False,
        "callbacks": [{"_target_": "tests.experiments.fits.Slow", "seconds": seconds}],
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(config))
    return path


def fit_of(folder: Path, *overrides: str, pause: tuple[str, float] | None = None) -> Task:
    """A task that runs a real fit of the config beside the member's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = (str(folder.parent / "config.yaml"), *overrides)
    return Task(str(folder), inputs, pause, str(folder.parent), {})


def weights(folder: Path) -> dict[str, Any]:
    """The bits of a member's last weights, by name."""
    state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return {name: tensor.numpy().tobytes() for name, tensor in state.items()}


def fitted(folder: Path) -> int:
    """How many steps a fit has logged."""
    path = folder / "losses.csv"
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0
