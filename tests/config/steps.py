"""Modules that lack something, and data that could be had otherwise."""

from __future__ import annotations

from torch.utils.data import Dataset

import lighter
from tests.jobs import digits


class TrainsOnly(lighter.LighterModule):
    def training_step(self, batch, batch_idx):
        return self.criterion(self(batch[0]), batch[1])


class Ordered(Dataset):
    """Digits in their order."""

    def __init__(self) -> None:
        self.base = digits(0, 64)

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index):
        return self.base[index]
