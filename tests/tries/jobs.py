"""A small project and the config of its baseline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

METRIC, LOSS = "val/metrics/accuracy/epoch", "val/loss/epoch"
_ADAPTERS = {"batch": {"_target_": "lighter.adapters.BatchAdapter", "input_accessor": 0, "target_accessor": 1}}


def _loader(start: int, end: int, **arguments: Any) -> dict[str, Any]:
    dataset = {"_target_": "project.parts.load", "path": "data.txt", "start": start, "end": end}
    return {"_target_": "torch.utils.data.DataLoader", "dataset": dataset, "batch_size": 32, **arguments}


SYSTEM: dict[str, Any] = {
    "project": ".",
    "seed": 1,
    "vars": {"classes": 2},
    "system": {
        "_target_": "lighter.System",
        "model": {"_target_": "torch.nn.Linear", "in_features": 4, "out_features": 2},
        "criterion": {"_target_": "torch.nn.CrossEntropyLoss"},
        "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.01},
        "metrics": {"val": {"accuracy": {"_target_": "project.metric.Accuracy", "num_classes": "@vars::classes"}}},
        "adapters": {"train": _ADAPTERS, "val": _ADAPTERS},
        "dataloaders": {"train": _loader(0, 128, shuffle=True), "val": _loader(128, 192)},
    },
    "trainer": {"max_epochs": 2, "accelerator": "cpu", "logger": False},
}

_PARTS = """
import torch
from pathlib import Path
from torch.utils.data import TensorDataset

SCALE = 16

def load(path, start, end):
    random = torch.Generator().manual_seed(int(Path(path).read_text()))
    inputs = torch.randn(256, 4, generator=random) / 16 * SCALE
    return TensorDataset(inputs[start:end], (inputs.sum(1) > 0).long()[start:end])
"""
_METRIC = """
from torchmetrics.classification import MulticlassAccuracy

class Accuracy(MulticlassAccuracy):
    pass  # here
"""


def write_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the project's modules and data; they are importable until the test ends."""
    (folder / "parts.py").write_text(_PARTS)
    (folder / "metric.py").write_text(_METRIC)
    (folder / "data.txt").write_text("1")
    monkeypatch.setenv("LIGHTER_PROJECT", str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "project"]:
        monkeypatch.delitem(sys.modules, name)
    return folder
