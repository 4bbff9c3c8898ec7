"""The small job whose experiments `inject_experiments.py` kills."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lighter import LighterModule


class Samples(Dataset):
    """Samples made of their index, with noise of Python's and torch's generators."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        target = index % 3
        return nn.functional.one_hot(torch.tensor(target), 4) + torch.randn(4) * random.random(), torch.tensor(target)


class Small(LighterModule):
    """A classifier with a fault in its steps: `raise`, `die` (by SIGKILL), `slow`, or none."""

    def __init__(self, fault: str = "", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.fault = fault

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.fault == "raise":
            raise ValueError("a fault of the job")
        if self.fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "slow":
            time.sleep(0.2)
        return self.criterion(self.network(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return self.criterion(self.network(batch[0]), batch[1])


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))
