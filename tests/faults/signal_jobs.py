"""The small job that `inject_signals.py` interrupts."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch.utils.data import Dataset

from lighter import LighterModule


class Samples(Dataset):
    """Made of their index, each taking some time."""

    def __init__(self, size: int, seconds: float = 0.0) -> None:
        self.size, self.seconds = size, seconds

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        time.sleep(self.seconds)
        return torch.full((4,), index / self.size), torch.tensor(index % 2)


class Slow(LighterModule):
    """Takes its time for each step."""

    def __init__(self, seconds: float = 0.0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.seconds = seconds

    def training_step(self, batch: Any) -> Any:
        time.sleep(self.seconds)
        return self.criterion(self.network(batch[0]), batch[1])

    validation_step = test_step = training_step

    def predict_step(self, batch: Any) -> Any:
        time.sleep(self.seconds)
        return {"score": self.network(batch[0])[:, 0]}


def config(
    *, seconds: float, size: int = 24, epochs: int = 3, workers: int = 0, normalizes: bool = False
) -> dict[str, Any]:
    """A job as a config; DDP has to send the buffers of a normalization round in each batch."""
    normalized = [{"_target_": "torch.nn.BatchNorm1d", "num_features": 2}] if normalizes else []

    def loader() -> dict[str, Any]:
        dataset = {"_target_": "tests.faults.signal_jobs.Samples", "size": size}
        wanted = {"_target_": "torch.utils.data.DataLoader", "batch_size": 2, "num_workers": workers}
        return {**wanted, "dataset": dataset}

    stages = ("train", "val", "test", "predict")
    return {
        "model": {
            "_target_": "tests.faults.signal_jobs.Slow",
            "seconds": seconds,
            "network": {
                "_target_": "torch.nn.Sequential",
                "_args_": [{"_target_": "torch.nn.Linear", "in_features": 4, "out_features": 2}, *normalized],
            },
            "criterion": {"_target_": "torch.nn.CrossEntropyLoss"},
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
        },
        "data": {"_target_": "lighter.LighterDataModule", **{f"{stage}_dataloader": loader() for stage in stages}},
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": epochs,
            "enable_model_summary": False,
            "log_every_n_steps": 5,
            "callbacks": [{"_target_": "lighter.callbacks.CsvWriter", "path": "rows.csv", "keys": ["score"]}],
        },
    }
