"""The fits that both trainers run: what a loop may meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchmetrics
from pytorch_lightning.callbacks import (
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
    Timer,
)
from pytorch_lightning.utilities import CombinedLoader
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau
from torch.utils.data import DataLoader, IterableDataset
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from tests.trainer.fits import DataModule, Job, by_step, dataset, shuffled, val_loaders
from tests.trainer.recording import Net, Recording, RecordingSGD


class Stream(IterableDataset):
    """Samples without a length."""

    def __iter__(self) -> Any:
        return iter(dataset())


class Manual(Net):
    """Two optimizers, by hand."""

    def __init__(self, recording: Recording | None = None, **options: Any) -> None:
        super().__init__(recording, **options)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            loss = self.loss(batch)
            self.manual_backward(loss)
            optimizer.step()
        self.log("train/loss", loss)
        return {"loss": loss, "extra": batch_idx}

    def configure_optimizers(self) -> Any:
        return [RecordingSGD(self.net[0].parameters(), lr=0.1), RecordingSGD(self.net[3].parameters(), lr=0.01)]


class Skipping(Net):
    """Some steps return None, and the second epoch ends early."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None if batch_idx % 3 == 1 else super().training_step(batch, batch_idx)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> Any:
        return -1 if self.current_epoch == 1 and batch_idx == 4 else None


class Returning(Net):
    """Returns a dict, takes no index, and moves its batches itself."""

    def training_step(self, batch: Any) -> Any:
        loss = super().training_step(batch, 0)
        return {"pred": batch[0].mean(), "loss": loss, "batch": batch}

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] * 2, batch[1]]


class Changing(Net):
    """Changes the list that it gets, which the loader gives again in the next epoch."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        batch[0] = batch[0] + 1
        return super().training_step(batch, batch_idx)


class Batches:
    """A loader that is no DataLoader."""

    def __init__(self, batches: list) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Warmup(Net):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (self.global_step + 1)
        optimizer.step(closure=optimizer_closure)


class Lbfgs(Net):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


class Dicts(Net):
    """Batches from two loaders at once."""

    def loss(self, batch: Any) -> Any:
        return super().loss(batch["a"]) + super().loss(batch["b"]) if isinstance(batch, dict) else super().loss(batch)


class Stopping(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 9:
            self.trainer.should_stop = True
        return super().training_step(batch, batch_idx)


class Failing(Net):
    error: type[BaseException] = RuntimeError

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 9:
            raise self.error("enough")
        return super().training_step(batch, batch_idx)


class Interrupted(Failing):
    error = KeyboardInterrupt


class Own(torchmetrics.Metric):
    """A metric of the user's, whose update reads what was there before."""

    full_state_update = True

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.5), dist_reduce_fx="sum")

    def update(self, preds: torch.Tensor, target: torch.Tensor) -> None:
        self.total = self.total * 0.9 + preds.sum() * 0.1

    def compute(self) -> torch.Tensor:
        return self.total


class Metrics(Net):
    """Logs in the ways that people do, with metrics of many kinds."""

    def __init__(self, recording: Any = None, **options: Any) -> None:
        super().__init__(recording, **options)
        self.accuracy, self.f1 = MulticlassAccuracy(2), MulticlassF1Score(2, average="macro")
        self.mean, self.error = torchmetrics.MeanMetric(), torchmetrics.MeanSquaredError()
        self.exact, self.own = MulticlassAUROC(2), Own()
        both = {"micro": MulticlassAccuracy(2, average="micro"), "recall": MulticlassRecall(2)}
        self.both = torchmetrics.MetricCollection(both, prefix="both/")
        self.grouped = torchmetrics.MetricCollection({"a": MulticlassPrecision(2), "b": MulticlassRecall(2)})
        self.nested = nn.ModuleDict({"one": MulticlassPrecision(2), "same": self.accuracy})
        self.val_metrics = torchmetrics.MetricCollection(both, prefix="val/")

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        pred = self.net(x)
        loss = nn.functional.cross_entropy(pred, y)
        self.accuracy(pred, y)
        self.log("accuracy", self.accuracy, on_step=True, on_epoch=True, prog_bar=True)
        value = self.f1(pred, y)
        self.log("f1", self.f1, on_epoch=True)
        self.log("f1 value", value)
        self.log("f1 mean", value, on_step=True, on_epoch=True, batch_size=3 + batch_idx)
        self.mean(loss)
        self.log("mean", self.mean, on_step=False, on_epoch=True)
        self.log("mean of a step", self.mean)
        self.log_dict({"error": self.error(pred[:, 1], y.float()), "exact": self.exact(pred, y)}, on_epoch=True)
        self.log("error of a step", self.error, on_step=True, on_epoch=True)
        self.log("own", self.own(pred, y))
        self.log_dict({f"{name}/now": value for name, value in self.both(pred, y).items()})
        self.log_dict(self.both, on_step=False, on_epoch=True)
        self.grouped.update(pred, y)
        self.log_dict(self.grouped, on_step=False, on_epoch=True)
        if batch_idx % 3:
            self.nested["one"](pred, y)
            self.log("sometimes", loss * 2, True, None, True, True)
            self.log("nested", self.nested["one"], metric_attribute="nested.one")
        self.log("same", self.nested["same"], on_step=True, on_epoch=True)
        self.log("both of them", (self.accuracy + 1)(pred, y))
        self.log("float", 0.5 * batch_idx, on_epoch=True)
        self.log("integer", batch_idx)
        self.log("integers", y.sum(), reduce_fx="sum", on_step=False, on_epoch=True)
        self.log("largest", loss.double(), reduce_fx="max", on_step=True, on_epoch=True)
        self.log("least", loss[None], reduce_fx=min, on_epoch=True, sync_dist=True)
        self.log("half", loss.half(), on_epoch=True)
        with torch.no_grad():
            loss.mul_(1)
            if self.options.get("changes") and batch_idx > 1:
                pred.zero_()
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        x, y = batch
        pred = self.net(x)
        self.val_metrics.update(pred, y)
        self.log_dict(self.val_metrics)
        self.log("val/loss", nn.functional.cross_entropy(pred, y), prog_bar=True)
        self.mean(pred)
        self.log("val/mean", self.mean, on_step=True, on_epoch=True, add_dataloader_idx=dataloader_idx == 0)
        if self.options.get("changes"):
            pred.zero_()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.log("of a hook", float(batch_idx), on_epoch=True)


class MetricLoss(Net):
    """Trains on what metrics return for the batch."""

    def __init__(self, recording: Any = None, **options: Any) -> None:
        super().__init__(recording, **options)
        self.error, self.mean = torchmetrics.MeanSquaredError(), torchmetrics.MeanMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        pred, target = self.net(batch[0])[:, 0], batch[1].float()
        loss = self.mean((pred - target).abs().mean()) + 0.1 * self.error(pred, target)
        self.log("error", self.error, on_step=True, on_epoch=True)
        return loss if batch_idx % 2 else {"loss": self.error(pred, target)}


class ManualMetrics(Manual):
    """As a GAN logs, with optimizer steps in between."""

    def __init__(self, recording: Any = None, **options: Any) -> None:
        super().__init__(recording, **options)
        self.accuracy = MulticlassAccuracy(2)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.log("before", self.accuracy(self.net(batch[0]), batch[1]), on_epoch=True)
        super().training_step(batch, batch_idx)
        self.log("accuracy", self.accuracy)
        self.log("after", self.accuracy(self.net(batch[0]), batch[1]))


def plateau(interval: str, monitor: str) -> Callable[[Any], dict]:
    return lambda optimizer: {
        "scheduler": ReduceLROnPlateau(optimizer, patience=0),
        "monitor": monitor,
        "interval": interval,
        "strict": False,
    }


JOBS = {
    "plain": Job(),
    "metrics": Job(module=Metrics),
    "metrics, changed inputs": Job(module=Metrics, options={"changes": True}),
    "metrics, accumulating": Job(
        module=Metrics, trainer={"accumulate_grad_batches": 3, "val_check_interval": 0.4}, val=lambda: val_loaders(2)
    ),
    "metrics, no logger": Job(module=Metrics, trainer={"logger": False, "max_steps": 9, "max_epochs": -1}),
    "metrics, as the loss": Job(module=MetricLoss),
    "metrics, manual": Job(module=ManualMetrics),
    "logs nothing": Job(options={"logs": False}),
    "no validation": Job(val=None),
    "accumulation": Job(trainer={"accumulate_grad_batches": 3}),
    "accumulation by epoch": Job(callbacks=lambda _: [GradientAccumulationScheduler({0: 1, 1: 2})]),
    "clip by norm": Job(trainer={"gradient_clip_val": 0.1}),
    "clip by value": Job(trainer={"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"}),
    "three validation loaders": Job(val=lambda: val_loaders(3)),
    "schedule by step": Job(options={"schedule": by_step}, callbacks=lambda _: [LearningRateMonitor("step")]),
    "schedule by epoch": Job(options={"schedule": lambda o: ExponentialLR(o, 0.5)}),
    "schedule by step, accumulating": Job(options={"schedule": by_step}, trainer={"accumulate_grad_batches": 2}),
    "plateau by epoch": Job(options={"schedule": plateau("epoch", "val/loss")}),
    "plateau by step": Job(options={"schedule": plateau("step", "train/loss_step")}),
    "manual, two optimizers": Job(module=Manual),
    "validation within the epoch": Job(trainer={"val_check_interval": 0.4}),
    "validation across epochs": Job(trainer={"val_check_interval": 5, "check_val_every_n_epoch": None}),
    "validation by time": Job(trainer={"val_check_interval": "00:00:01:00"}),
    "validation every other epoch": Job(trainer={"check_val_every_n_epoch": 2}),
    "max_steps": Job(trainer={"max_steps": 9, "max_epochs": -1}),
    "min_steps, stopping": Job(module=Stopping, trainer={"min_steps": 12}),
    "stopping": Job(module=Stopping),
    "limits": Job(trainer={"limit_train_batches": 3, "limit_val_batches": 1}),
    "limits as shares": Job(trainer={"limit_train_batches": 0.5, "limit_val_batches": 0}),
    "early stopping": Job(callbacks=lambda _: [EarlyStopping("val/loss", patience=0, min_delta=10.0)]),
    "skipped steps": Job(module=Skipping),
    "checkpoints": Job(callbacks=lambda folder: [ModelCheckpoint(folder, every_n_train_steps=2, save_top_k=-1)]),
    "best checkpoints": Job(callbacks=lambda folder: [ModelCheckpoint(folder, monitor="val/loss", save_last=True)]),
    "overfit": Job(trainer={"overfit_batches": 2}),
    "fast_dev_run": Job(trainer={"fast_dev_run": 2}),
    "averaged weights": Job(callbacks=lambda _: [StochasticWeightAveraging(0.05, swa_epoch_start=1)]),
    "timer": Job(callbacks=lambda _: [Timer("00:01:00:00", interval="step")]),
    "an error": Job(module=Failing),
    "a keyboard interrupt": Job(module=Interrupted),
    "no length": Job(train=lambda: DataLoader(Stream(), batch_size=4), val=lambda: DataLoader(Stream(), batch_size=8)),
    "two loaders at once": Job(module=Dicts, train=lambda: {"a": shuffled(), "b": val_loaders()}),
    "the shorter of two": Job(module=Dicts, train=lambda: CombinedLoader({"a": shuffled(), "b": val_loaders()})),
    "lists of batches": Job(module=Changing, train=lambda: Batches(list(shuffled()))),
    "a dict returned": Job(module=Returning),
    "a data module": Job(train=DataModule, val=None),
    "optimizer_step": Job(module=Warmup),
    "a closure called often": Job(module=Lbfgs),
    "bf16-mixed": Job(trainer={"precision": "bf16-mixed"}),
    "bf16-true": Job(trainer={"precision": "bf16-true"}),
    "64-true": Job(trainer={"precision": "64-true"}, val=None),
    "loaders made anew": Job(trainer={"reload_dataloaders_every_n_epochs": 1}),
    "barebones": Job(trainer={"barebones": True}),
    "anomalies": Job(trainer={"detect_anomaly": True}),
    "no log interval": Job(trainer={"log_every_n_steps": 0}),
    "inference": Job(trainer={"log_every_n_steps": 3, "num_sanity_val_steps": 0}),
}
