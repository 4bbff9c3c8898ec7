"""Fits that are cut short, and what they logged."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from lighter import Runner
from tests.jobs import Classifier

CALLBACK = "tests.runs.resume.jobs.StopAt"


class StopError(Exception):
    """What stops a fit in the tests."""


class StopAt(pl.Callback):
    """Stops a fit before a step, once: when the run goes on, `armed` is False."""

    armed = True

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if StopAt.armed and trainer.global_step == self.step:
            raise StopError


def fit_until(step: int, inputs: list[Any], **arguments: Any) -> Path:
    """A fit that stops before a step; returns its folder."""
    StopAt.armed = True
    callback = {"trainer": {"callbacks": [{"_target_": CALLBACK, "step": step}]}}
    try:
        Runner().run("fit", [*inputs, callback], **arguments)
    except StopError:
        StopAt.armed = False
    else:
        raise AssertionError("it did not stop")
    return newest()


def newest() -> Path:
    return max(Path("outputs").glob("*/*"), key=lambda path: (path / "run.json").stat().st_mtime_ns)


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def logged(file: Path) -> list[tuple[int, str]]:
    """Step and name of every value in a `metrics.csv`, in order."""
    with file.open() as text:
        rows = list(csv.DictReader(text))
    return sorted(
        (int(row["step"]), name)
        for row in rows
        for name, value in row.items()
        if value and name not in ("step", "epoch")
    )


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


class Wider(Classifier):
    """Another class that has the same weights."""


def wide_mlp() -> torch.nn.Sequential:
    return torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.ReLU(), torch.nn.Linear(48, 10))


class Steps(torch.nn.Module):
    """Counts its calls, in extra state of its `state_dict`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": self.calls}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.calls = state["calls"]


def lazy_mlp() -> torch.nn.Sequential:
    """Of layers that find their shapes in the first step."""
    return torch.nn.Sequential(torch.nn.LazyLinear(32), torch.nn.LazyBatchNorm1d(), Steps(), torch.nn.LazyLinear(10))


def meta_mlp() -> torch.nn.Sequential:
    with torch.device("meta"):
        return torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), Steps(), torch.nn.Linear(32, 10))
