"""Datasets, data modules and modules on each rung, for the tests of `data::split`."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

import lighter

SAMPLES = 60


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(SAMPLES, 4, generator=generator)
    return TensorDataset(x, (torch.arange(SAMPLES) % 3 == 0).long())


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))


class Plain(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network, self.criterion = network(), nn.CrossEntropyLoss()
        self.trained: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.criterion(self.network(batch[0]), batch[1])
        self.log("train/loss/epoch", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss/epoch", self.criterion(self.network(batch[0]), batch[1]))

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return {"pred": self.network(batch[0])[:, 1], "target": batch[1]}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Steps(lighter.LighterModule):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.criterion(self(batch[0]), batch[1])

    validation_step = training_step

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return {"pred": self(batch[0])[:, 1], "target": batch[1]}


class Forward(lighter.ForwardModule):
    def forward(self, batch: Any) -> Any:
        pred = self.model(batch[0])
        return {"loss_dict": {"ce_loss": self.criterion(pred, batch[1])}, "metric_dict": {}, "pred": pred[:, 1]}


class Own(pl.LightningDataModule):
    """A data module that makes its own loaders of the indices that it is given."""

    def __init__(self, train_indices: list[int], val_indices: list[int], batch_size: int = 8) -> None:
        super().__init__()
        self.sides, self.batch_size = (train_indices, val_indices), batch_size

    def train_dataloader(self) -> DataLoader:
        return DataLoader(Subset(data(), self.sides[0]), batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Subset(data(), self.sides[1]), batch_size=self.batch_size)


class NamesSplit(pl.LightningDataModule):
    """A data module with a `split` of its own."""

    def __init__(self, split: Any) -> None:
        super().__init__()
        assert split == {"kind": "mine"}

    def train_dataloader(self) -> DataLoader:
        return DataLoader(data(), 8)


class TakesNone(pl.LightningDataModule):
    def train_dataloader(self) -> DataLoader:
        return DataLoader(data(), 8)


def loader(dataset: Any, **arguments: Any) -> DataLoader:
    return DataLoader(dataset, **arguments)


class Unseen(Dataset):
    """Holds nothing that could be compared, and has texts for labels."""

    targets = ["cat", "dog"] * (SAMPLES // 2)

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> Any:
        return torch.full((4,), index / SAMPLES), index % 2
