"""Modules of every rung that classify the same samples, and the process that two ranks run."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as other
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset

import lighter
from lighter.callbacks import EvaluationReport, Pictures

CLASSES = 4


def samples(size: int = 50) -> TensorDataset:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(size, 1, 6, 6, generator=generator)
    return TensorDataset(images, (images.flatten(1).sum(1) * 7).long() % CLASSES)


def loader(size: int = 50, batch_size: int = 8, **kwargs: Any) -> DataLoader:
    return DataLoader(samples(size), batch_size=batch_size, **kwargs)


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES))


class Written(lighter.LighterModule):
    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        logits = self(batch[0])
        return {"loss": F.cross_entropy(logits, batch[1]), "logits": logits}

    def test_step(self, batch, batch_idx):
        return {"pred": self(batch[0]).softmax(1), "target": batch[1]}


class OnlyLoss(Written):
    def validation_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])


class Forward(lighter.ForwardModule):
    def forward(self, batch):
        logits = self.model(batch[0])
        metric_dict = {"preds": logits, "target": batch[1]}
        return {"loss_dict": {"loss": F.cross_entropy(logits, batch[1])}, "metric_dict": metric_dict}


def plain(base: type) -> type:
    class Plain(base):
        def __init__(self, *returned: str) -> None:
            super().__init__()
            self.network, self.returned = network(), returned or ("loss", "y_hat", "y")

        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self.network(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            logits = self.network(batch[0])
            values = {"loss": F.cross_entropy(logits, batch[1]), "y_hat": logits, "y": batch[1], "none": None}
            return {name: values.get(name, logits) for name in self.returned}

        test_step = validation_step

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Plain


Plain, OtherPlain = plain(pl.LightningModule), plain(other.LightningModule)


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def module_of(rung: str) -> Any:
    net = network()
    if rung == "System":
        return lighter.System(net, criterion=nn.CrossEntropyLoss(), optimizer=sgd(net.parameters()))
    if rung == "ForwardModule":
        return Forward(net, optimizer=sgd(net.parameters()))
    if rung == "LighterModule":
        return Written(net, optimizer=sgd(net.parameters()))
    return Plain() if rung == "LightningModule" else OtherPlain()


RUNGS = ("System", "ForwardModule", "LighterModule", "LightningModule", "lightning.pytorch")


def trainer(*callbacks: Any, kind: Any = lighter.Trainer, folder: Any = ".", **kwargs: Any) -> Any:
    given = {"accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_checkpointing": False, **kwargs}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    return kind(callbacks=[*callbacks], default_root_dir=folder, **quiet, **given)


def main(rung: str, folder: Path) -> None:
    two = trainer(
        EvaluationReport("classification", samples=5),
        Pictures(samples=5),
        folder=folder,
        devices=2,
        strategy="ddp_fork",
    )
    module = module_of(rung)
    two.fit(module, loader(), loader(51))
    torch.save(module.state_dict(), folder / "weights.pt")
    two.test(module, loader(51))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1], Path(sys.argv[2]))
