"""Stand-ins for a project's module, network and data."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

import lighter


class Reader:
    def __init__(self, levels: int):
        self.levels = levels


class Net(nn.Module):
    def __init__(self, classes: int, reader: Reader):
        super().__init__()
        self.stem, self.head = nn.Linear(16, 8), nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.stem(x).relu())


def slides(size: int):
    return TensorDataset(torch.rand(32, size), torch.randint(4, (32,)))


class CellModel(lighter.LighterModule):
    def training_step(self, batch, batch_idx):
        pred = self.network(batch[0])
        self.train_metrics(pred, batch[1])
        return {"loss": self.criterion(pred, batch[1])}

    def validation_step(self, batch, batch_idx):
        pred = self.network(batch[0])
        self.val_metrics(pred, batch[1])
        return {"loss": self.criterion(pred, batch[1])}
