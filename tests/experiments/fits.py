"""Real fits of members, where their bits matter."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from lighter.experiments.executors.base import Task
from lighter.processes import signals
from lighter.processes.ranks import is_rank_zero
from tests.conftest import digits_config

WAITS = "waits"
LATE = 300.0


class Slow(pl.Callback):
    """Leave time to interrupt a small fit."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_batch_end(self, *_: Any) -> None:
        time.sleep(self.seconds)


class WaitsForSignal(pl.Callback):
    """Wait at a step for a signal, however long that takes on a busy machine; a resumed fit is past that step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step != self.step or not is_rank_zero():  # the other processes wait for this one
            return
        Path(trainer.default_root_dir, WAITS).touch()
        late = time.monotonic() + LATE
        while signals.received() is None:
            assert time.monotonic() < late, "no signal came"
            time.sleep(0.05)


def waits(folder: Path) -> bool:
    """Whether a fit has come to the step at which it waits for a signal."""
    return (folder / WAITS).exists()


def config_file(folder: Path, seconds: float, epochs: int = 4, waits_at: int | None = None) -> Path:
    """Write the config of a fit that takes at least so long for a step, of which it has ten in an epoch.

    Args:
        waits_at: the step at which it waits for a signal.
    """
    config = digits_config()
    for loader in ("test_dataloader", "predict_dataloader"):
        del config["data"][loader]
    config["trainer"] |= {
        "max_epochs": epochs,
        "enable_progress_bar": False,
        "callbacks": [{"_target_": "tests.experiments.fits.Slow", "seconds": seconds}],
    }
    if waits_at is not None:
        config["trainer"]["callbacks"].append({"_target_": "tests.experiments.fits.WaitsForSignal", "step": waits_at})
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
