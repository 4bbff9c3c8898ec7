"""The job that the fault scripts cut short: digits, drawn over at random, and an MLP with dropout.

A sample draws from Python's, NumPy's and torch's generator, and so does a step. What was served, and what it came to,
is noted step by step in `served.txt`, where each start of a job has a part of its own.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, Sampler, WeightedRandomSampler
from torchmetrics.classification import MulticlassAccuracy

import lighter

SERVED = "served.txt"
KEEP_CUTS = "LIGHTER_TEST_CUTS"  # the folder in which `Cuts` keeps them
SAVE_EVERY = "LIGHTER_TEST_SAVE_EVERY"  # how often `StepCheckpoint` saves
SIGNAL_AT = "LIGHTER_TEST_SIGNAL"  # what `SignalsItself` sends, and when
START = "start"


@cache
def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    return torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target)


def augmented(index: int) -> tuple[Tensor, Tensor, int, Tensor]:
    """A digit with noise, and what was drawn for it."""
    images, targets = digits()
    draws = torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()], dtype=torch.float64)
    noise = torch.randn(64) * draws.sum().float() / 10
    return images[index] + noise, targets[index], index, draws


class Digits(Dataset):
    """Some of the digits, by index."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end

    def __len__(self) -> int:
        return self.end - self.start

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int, Tensor]:
        return augmented(self.start + index)


class Stream(IterableDataset):
    """The same, one after the other: nobody knows where it is."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end

    def __iter__(self) -> Iterator[Any]:
        workers = torch.utils.data.get_worker_info()
        share, of = (workers.id, workers.num_workers) if workers else (0, 1)
        return (augmented(index) for index in range(self.start + share, self.end, of))


class StreamWithState(Stream):
    """A stream that says where it is, and goes on there."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__(start, end)
        self.next = start

    def __iter__(self) -> Iterator[Any]:
        while self.next < self.end:
            self.next += 1
            yield augmented(self.next - 1)
        self.next = self.start

    def state_dict(self) -> dict[str, int]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.next = state["next"]


class Batches(Sampler):
    """A batch sampler of a user's: the short and the long half of the data in turn, shuffled by Python's generator."""

    def __init__(self, size: int, batch_size: int) -> None:
        self.size, self.batch_size = size, batch_size

    def __len__(self) -> int:
        return self.size // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        order = random.sample(range(self.size), self.size)
        return iter([order[n : n + self.batch_size] for n in range(0, self.size, self.batch_size)])


def weighted(size: int) -> WeightedRandomSampler:
    return WeightedRandomSampler([1.0 + index % 3 for index in range(size)], size)


def network(dropout: float = 0.3) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 10)
    )  # fmt: skip


def drawn_over(x: Tensor) -> Tensor:
    """What a step may draw: one number of each generator."""
    return x * (1 + random.random() / 10) + np.random.rand() / 10 + torch.rand(()) / 10


class Classifier(lighter.LighterModule):
    """The steps."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        pred = self(drawn_over(batch[0]))
        if self.train_metrics is not None:
            self.train_metrics(pred, batch[1])
        return self.criterion(pred, batch[1])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        pred = self(drawn_over(batch[0]))
        if self.val_metrics is not None:
            self.val_metrics(pred, batch[1])
        return self.criterion(pred, batch[1])


class Seldom(Classifier):
    """Its steps draw from torch's generator, and a few in the middle of epochs from the others too."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x = batch[0] * (1 + torch.rand(()) / 10)
        return self.criterion(self(drawn_over(x) if self.global_step % 100 == 60 else x), batch[1])


class Forward(lighter.ForwardModule):
    """The same, where only forward is written."""

    def forward(self, batch: Any) -> Any:
        pred = self.model(drawn_over(batch[0]))
        loss = nn.functional.cross_entropy(pred, batch[1])
        return {"loss_dict": {"ce_loss": loss}, "metric_dict": {"preds": pred, "target": batch[1]}}


class Manual(Classifier):
    """Two optimizers, stepped by hand."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()
        return loss


class Plain(pl.LightningModule):
    """Plain Lightning, which logs values of steps and epochs, and a metric object."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()
        self.train_accuracy, self.val_accuracy = MulticlassAccuracy(10), MulticlassAccuracy(10)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        pred = self.network(drawn_over(batch[0]))
        loss = nn.functional.cross_entropy(pred, batch[1])
        self.train_accuracy(pred, batch[1])
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        self.log("train/accuracy", self.train_accuracy, on_step=True, on_epoch=True)
        self.log("train/largest", pred.max(), on_step=False, on_epoch=True, reduce_fx="max")
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        pred = self.network(drawn_over(batch[0]))
        self.val_accuracy(pred, batch[1])
        self.log("val/loss/epoch", nn.functional.cross_entropy(pred, batch[1]))
        self.log("val/accuracy", self.val_accuracy, on_step=True, on_epoch=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 50, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class PlainOnSeveral(Plain):
    """The same with a metric for each of two validation dataloaders."""

    def __init__(self) -> None:
        super().__init__()
        self.val_accuracies = nn.ModuleList([MulticlassAccuracy(10), MulticlassAccuracy(10)])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        pred, accuracy = self.network(drawn_over(batch[0])), self.val_accuracies[dataloader_idx]
        accuracy(pred, batch[1])
        self.log("val/loss", nn.functional.cross_entropy(pred, batch[1]), on_step=True, on_epoch=True)
        self.log("val/accuracy", accuracy, on_step=True, on_epoch=True)


class Served(pl.Callback):
    """Notes every step: where it was, which samples it got, what was drawn for them, and its loss."""

    file: ClassVar[int]  # of the class: a descriptor is of a process, and no state of a fit

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        type(self).file = os.open(f"{SERVED}.{trainer.global_rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(self.file, f"{START}\n".encode())

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        self._note(trainer, "train", batch, batch_idx, loss)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if not trainer.sanity_checking:
            self._note(trainer, f"val {dataloader_idx}", batch, batch_idx, None)

    def _note(self, trainer: Any, mode: str, batch: Any, batch_idx: int, loss: Any) -> None:
        place = f"{mode} epoch={trainer.current_epoch} step={trainer.global_step} batch={batch_idx}"
        samples = f"samples={batch[2].tolist()} draws={float(batch[3].sum()).hex()}"
        value = "" if loss is None else f" loss={float(loss).hex()}"
        os.write(self.file, f"{place} {samples}{value}\n".encode())


class SignalsItself(pl.Callback):
    """Sends its process a signal at a moment that the environment names: `SIGTERM val_batch 7 0`.

    That is the signal, the hook, how often that was called in this process, and the rank of the process.
    """

    calls: ClassVar[Counter[str]] = Counter()  # of the class: they count in this process

    def _called(self, trainer: Any, hook: str) -> None:
        name, at, count, rank = os.environ.get(SIGNAL_AT, "- - 0 0").split()
        if name == "-" or trainer.global_rank != int(rank):
            return
        hook = f"sanity_{hook}" if trainer.sanity_checking else hook
        self.calls[hook] += 1
        if hook == at and self.calls[hook] == int(count):
            os.kill(os.getpid(), signal.Signals[name])

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        self._called(trainer, "batch_start")

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self._called(trainer, "batch")

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._called(trainer, "val_start")

    def on_validation_batch_start(self, trainer: Any, *_: Any) -> None:
        self._called(trainer, "val_batch_start")

    def on_validation_batch_end(self, trainer: Any, *_: Any) -> None:
        self._called(trainer, "val_batch")

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._called(trainer, "val_epoch_end")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._called(trainer, "val_end")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._called(trainer, "epoch_end")


class StepCheckpoint(ModelCheckpoint):
    """`step.ckpt` every so many steps. How many is not of its state, so two jobs may differ in that."""

    def __init__(self) -> None:
        every = int(os.environ.get(SAVE_EVERY, "45"))
        super().__init__(filename="step", every_n_train_steps=every, enable_version_counter=False)

    @property
    def state_key(self) -> str:
        return type(self).__qualname__


class OddMoments(Checkpoint):
    """`odd.ckpt` where Lightning's callbacks do not save: at the start of an epoch or a batch, between gradients."""

    def _save(self, trainer: Any) -> None:
        if KEEP_CUTS in os.environ:
            trainer.save_checkpoint(Path(trainer.default_root_dir, "checkpoints", "odd.ckpt"))

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._save(trainer)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % 11 == 7:
            self._save(trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.fit_loop._should_accumulate():
            self._save(trainer)


class Cuts(Checkpoint):
    """Keeps the run's folder as it is whenever a checkpoint was saved, as a kill would leave it then."""

    def __init__(self) -> None:
        self.seen: Any = None

    def _keep(self, trainer: Any, moment: str) -> None:
        if KEEP_CUTS not in os.environ:
            return
        folder = Path(trainer.default_root_dir)
        files = sorted((path.name, path.stat().st_mtime_ns) for path in folder.glob("checkpoints/*"))
        if files and files != self.seen:
            self.seen = files
            name = f"{trainer.fit_loop.epoch_loop.batch_progress.total.processed:03d}-{moment}"
            shutil.copytree(folder, Path(os.environ[KEEP_CUTS], name))

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._keep(trainer, "start")

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        self._keep(trainer, "next")

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self._keep(trainer, "batch")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._keep(trainer, "validation")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self._keep(trainer, "epoch")
