"""A small training in which one number is not finite, at a place that is given."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import lighter

BATCHES, EPOCHS, BATCH_SIZE = 9, 3, 4
FIRST = "network.0.weight"  # the first parameter in the order of the module


@dataclass(frozen=True)
class Fault:
    """One number that is not finite.

    Attributes:
        what: `batch`, `loss`, `gradient`, `weight` or `buffer`; or `none`.
        epoch: when, with `batch`.
        batch: from 0.
        value: `nan`, `inf` or `-inf`.
        rank: the process that it happens in, for what is not the same in all of them.
    """

    what: str
    epoch: int = 0
    batch: int = 0
    value: float = float("nan")
    rank: int = 0

    def is_now(self, module: Any, batch_idx: int, what: str) -> bool:
        trainer = module.trainer
        here = trainer.global_rank == self.rank or what in ("weight", "buffer")
        return (self.what, self.epoch, self.batch) == (what, trainer.current_epoch, batch_idx) and here


class Samples(Dataset):
    """Random numbers, in the same order in every epoch."""

    def __init__(self, batches: int = BATCHES) -> None:
        generator = torch.Generator().manual_seed(3)
        self.x = torch.randn(batches * BATCH_SIZE, 5, generator=generator)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": self.x[index].clone(), "y": int(self.x[index].sum() > 0)}


def make_network() -> nn.Module:
    """The same at each call."""
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


class Spoils:
    """What a module needs for a fault to happen in it. Named losses, BatchNorm, and a mask of `-inf` from the start."""

    def build(self, fault: Fault, left_out: tuple[tuple[int, int], ...] = ()) -> None:
        self.fault, self.left_out = fault, set(left_out)
        self.register_buffer("mask", torch.tensor([0.0, 0.0, -torch.inf]))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
        self.network[0].weight.register_hook(self.spoil_gradient)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.trainer.training and self.fault.is_now(self, self.trainer.fit_loop.epoch_loop.batch_idx + 1, "batch"):
            batch["x"][1, 2] = self.fault.value
        return batch

    def losses(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        self.batch_idx = batch_idx
        self.scratch.fill_(torch.inf)  # nobody saves it
        ce = nn.functional.cross_entropy(self.network(batch["x"]) + self.mask, batch["y"])
        if self.fault.is_now(self, batch_idx, "loss"):
            ce = ce + self.fault.value
        reg = 0.01 * self.network[3].weight.square().sum()
        return {"total": ce + reg, "reg": reg, "ce": ce}

    def spoil_gradient(self, gradient: Tensor) -> Tensor:
        if not self.fault.is_now(self, self.batch_idx, "gradient"):
            return gradient
        return gradient.clone().index_fill_(0, torch.tensor([2]), self.fault.value)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        with torch.no_grad():
            if self.fault.is_now(self, batch_idx, "weight"):
                self.network[0].weight[0, 0] = self.fault.value
            if self.fault.is_now(self, batch_idx, "buffer"):
                self.network[1].running_var[0] = self.fault.value

    def seen(self, batch_idx: int) -> bool:
        return (self.trainer.current_epoch, batch_idx) not in self.left_out


class WithLighter(Spoils, lighter.LighterModule):
    def __init__(self, fault: Fault, **options: Any) -> None:
        super().__init__(network=make_network(), optimizer=lambda params: torch.optim.Adam(params, lr=0.01))
        self.build(fault, **options)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self.losses(batch, batch_idx)} if self.seen(batch_idx) else None


class WithLightning(Spoils, pl.LightningModule):
    def __init__(self, fault: Fault, **options: Any) -> None:
        super().__init__()
        self.network = make_network()
        self.build(fault, **options)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        losses = self.losses(batch, batch_idx) if self.seen(batch_idx) else None
        return losses and {"loss": losses["total"], "losses": losses}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class ByHand(WithLightning):
    """Manual optimization."""

    def __init__(self, fault: Fault, **options: Any) -> None:
        super().__init__(fault, **options)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        if not self.seen(batch_idx):
            optimizer.step()  # without gradients: it counts, as a step that is left out does
            return None
        losses = self.losses(batch, batch_idx)
        self.manual_backward(losses["total"])
        optimizer.step()
        return losses["total"]


MODULES = {"lighter": WithLighter, "lightning": WithLightning, "manual": ByHand}


def make_trainer(folder: Path, **kwargs: Any) -> lighter.Trainer:
    """A trainer that saves every second step, every epoch and the last, and logs every fourth step."""
    callbacks = [
        ModelCheckpoint(folder, filename="{step}", every_n_train_steps=2, save_top_k=-1, save_last=True),
        ModelCheckpoint(folder, filename="newest", enable_version_counter=False),  # over itself, each epoch
        *kwargs.pop("callbacks", []),
    ]
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
    options = {"max_epochs": EPOCHS, "log_every_n_steps": 4, "default_root_dir": folder, "devices": 1, **quiet}
    return lighter.Trainer(callbacks=callbacks, **{**options, **kwargs})


def fit(module: Any, folder: Path, *, batches: int = BATCHES, **kwargs: Any) -> lighter.Trainer:
    """Train it; returns the trainer."""
    trainer = make_trainer(folder, **kwargs)
    trainer.fit(module, DataLoader(Samples(batches), BATCH_SIZE))
    return trainer


def place_in(message: str) -> tuple[int, int]:
    """The epoch and the batch that a message names."""
    found = re.search(r"epoch (\d+), batch (\d+) \(from 0\)", message)
    assert found is not None, message
    return int(found[1]), int(found[2])


def spoiled_files(folder: Path) -> list[str]:
    """The checkpoints whose weights are not finite."""
    return [path.name for path in sorted(folder.rglob("*.ckpt")) if not _is_good(path)]


def _is_good(path: Path) -> bool:
    state = torch.load(path, weights_only=True)["state_dict"]
    return all(bool(value.isfinite().all()) for name, value in state.items() if name != "mask")
