"""What the tests' configs name: data, networks and modules, small and real."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

import lighter

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
"""Options of a trainer that only computes."""


@cache
def load() -> Any:
    """Read the file once in a process: most tests' fits need it several times."""
    return load_digits()


def digits(start: int = 0, end: int = 440) -> TensorDataset:
    data = load()
    images = torch.tensor(data.data[start:end], dtype=torch.float32) / 16
    return TensorDataset(images, torch.tensor(data.target[start:end]))


def loader(start: int, end: int, batch_size: int = 32, **kwargs: Any) -> DataLoader:
    return DataLoader(digits(start, end), batch_size=batch_size, **kwargs)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def metrics() -> MetricCollection:
    return MetricCollection(
        {"accuracy": MulticlassAccuracy(10, average="micro"), "f1": MulticlassF1Score(10, average="macro")}
    )


class KeepMetrics(pl.Callback):
    """Writes each rank's `callback_metrics` to a file of its own."""

    def on_fit_end(self, trainer, pl_module):
        self.write(trainer)

    def on_validation_end(self, trainer, pl_module):
        self.write(trainer)

    def write(self, trainer):
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        Path(f"metrics-{trainer.world_size}-{trainer.global_rank}.json").write_text(json.dumps(values))


class Classifier(lighter.LighterModule):
    def training_step(self, batch, batch_idx):
        x, y = batch
        pred = self(x)
        if self.train_metrics is not None:
            self.train_metrics(pred, y)
        return self.criterion(pred, y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        pred = self(x)
        if self.val_metrics is not None:
            self.val_metrics(pred, y)
        return {"loss": self.criterion(pred, y), "pred": pred}

    def test_step(self, batch, batch_idx):
        x, y = batch
        if self.test_metrics is not None:
            self.test_metrics(self(x), y)
        return {"pred": self(x)}

    def predict_step(self, batch, batch_idx):
        return self(batch[0]).argmax(dim=1)


class ForwardClassifier(lighter.ForwardModule):
    """What `Classifier` does, on the rung where only `forward` is written."""

    def forward(self, batch):
        x, y = batch
        pred = self.model(x)
        ce = nn.functional.cross_entropy(pred, y)
        return {"loss_dict": {"ce_loss": ce}, "metric_dict": {"preds": pred, "target": y}, "pred": pred}


class PlainClassifier(pl.LightningModule):
    """Lightning's documented way to do what `Classifier` does."""

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = mlp()
        self.criterion = nn.CrossEntropyLoss()
        self.train_metrics, self.val_metrics = metrics().clone("train/"), metrics().clone("val/")

    def training_step(self, batch, batch_idx):
        x, y = batch
        pred = self.network(x)
        loss = self.criterion(pred, y)
        self.train_metrics(pred, y)
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        self.log_dict(self.train_metrics, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        pred = self.network(x)
        self.val_metrics(pred, y)
        self.log("val/loss", self.criterion(pred, y))
        self.log_dict(self.val_metrics)

    def test_step(self, batch, batch_idx):
        self.log("test/loss", self.criterion(self.network(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
