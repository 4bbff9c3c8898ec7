"""A small real job that most tests share: scikit-learn's digits and an MLP, as Python objects and as a config."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in a folder of its own and leaves the process as it found it."""
    monkeypatch.chdir(tmp_path)
    path, environment = list(sys.path), dict(os.environ)
    yield tmp_path
    sys.path[:] = path
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


@pytest.fixture(autouse=True)
def no_process_group_stays() -> Iterator[None]:
    """A test that runs one of several processes in this one leaves it as one process."""
    yield
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Two cores are shared by all tests."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture
def config() -> dict[str, Any]:
    """A whole experiment: 320 digits for training, 70 for validation, 50 for test."""
    return digits_config()


def digits_config() -> dict[str, Any]:
    metrics = {
        "accuracy": {
            "_target_": "torchmetrics.classification.MulticlassAccuracy",
            "num_classes": 10,
            "average": "micro",
        },
        "f1": {"_target_": "torchmetrics.classification.MulticlassF1Score", "num_classes": 10},
    }

    def loader(start: int, end: int, batch_size: int, shuffle: bool = False) -> dict[str, Any]:
        return {
            "_target_": "torch.utils.data.DataLoader",
            "dataset": {"_target_": "tests.jobs.digits", "start": start, "end": end},
            "batch_size": batch_size,
            "shuffle": shuffle,
        }

    return {
        "seed": 3,
        "vars": {"metrics": metrics},
        "model": {
            "_target_": "tests.jobs.Classifier",
            "network": {"_target_": "tests.jobs.mlp"},
            "criterion": {"_target_": "torch.nn.CrossEntropyLoss"},
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "train_metrics": "%vars::metrics",
            "val_metrics": "%vars::metrics",
            "test_metrics": "%vars::metrics",
        },
        "data": {
            "_target_": "lighter.LighterDataModule",
            "train_dataloader": loader(0, 320, 32, shuffle=True),
            "val_dataloader": loader(320, 390, 32),
            "test_dataloader": loader(390, 440, 32),
            "predict_dataloader": loader(390, 440, 32),
        },
        "trainer": {"max_epochs": 2, "accelerator": "cpu", "enable_model_summary": False, "log_every_n_steps": 5},
    }
