"""The pieces that generated jobs are made of: what users write into modules, callbacks and datasets, one idea a class.

Each changes what the fit comes to, so that a piece that a resumed fit has lost shows in the weights.
"""

from __future__ import annotations

import copy
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BaseFinetuning, Callback, Checkpoint
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric, MinMaxMetric, SumMetric
from torchmetrics.classification import MulticlassAccuracy

import lighter
from lighter.adapters import BatchAdapter
from tests.faults.jobs import Batches, Digits, Stream, StreamWithState, drawn_over, weighted

STEPS = 6  # of an epoch, in batches of 4


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 10))


def pairs(batch: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """The images and targets of a batch, of one dataloader or of several."""
    if isinstance(batch, dict):
        batch = list(batch.values())
    if isinstance(batch[0], Tensor):
        yield batch[0], batch[1]
        return
    for one in batch:
        if one is not None:
            yield from pairs(one)


class Base(pl.LightningModule):
    """What all generated modules have."""

    network: nn.Sequential

    def factor(self, loss: Tensor) -> Any:
        """What features multiply a training loss by."""
        return 1.0

    def predict(self, batch: Any) -> Iterator[tuple[Tensor, Tensor]]:
        dtype = next(self.parameters()).dtype
        for x, target in pairs(batch):
            yield self.network(drawn_over(x).to(dtype)), target

    def loss(self, batch: Any) -> Tensor:
        return sum((cross_entropy(pred.float(), target) for pred, target in self.predict(batch)), torch.zeros(()))

    def training_loss(self, batch: Any) -> Tensor:
        loss = self.loss(batch)
        return loss * bounded(self.factor(loss.detach()))


def bounded(factor: Any) -> Tensor:
    """A factor of which every bit counts, and with which no weight grows without end."""
    return 1 + torch.sin(torch.as_tensor(factor, dtype=torch.float32)) / 2


class AnnealsBeta(Base):
    beta = 0.0

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.beta = min(1.0, 0.3 * self.current_epoch)

    def factor(self, loss: Tensor) -> Any:
        return super().factor(loss) * (1 + self.beta)


class MovesDropout(Base):
    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        dropout: Any = self.network[3]
        dropout.p = 0.1 + 0.2 * self.current_epoch


class Flag(Base):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.phase = "warm"

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.current_epoch == 1 and batch_idx == 2:
            self.phase = "hot"

    def factor(self, loss: Tensor) -> Any:
        return super().factor(loss) * (3 if self.phase == "hot" else 1)


class CountsBatches(Base):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.counts: Counter[str] = Counter()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.counts["batches"] += 1

    def factor(self, loss: Tensor) -> Any:
        return super().factor(loss) * (1 + self.counts["batches"] / 10)


class PastLosses(Base):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.past: list[Tensor] = []
        self.last: deque[float] = deque(maxlen=3)

    def factor(self, loss: Tensor) -> Any:
        self.past.append(loss)
        self.last.append(float(loss))
        return super().factor(loss) * (1 + torch.stack(self.past).mean() + sum(self.last))


class HiddenBuffer(Base):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.register_buffer("mean", torch.ones(()), persistent=False)

    def factor(self, loss: Tensor) -> Any:
        self.mean = 0.9 * self.mean + 0.1 * loss
        return super().factor(loss) * (1 + self.mean)


class Metrics(Base):
    """In an attribute, a list and a dict; of one epoch, and of all."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.running, self.listed, self.by_name = MeanMetric(), [SumMetric()], {"all": MinMaxMetric(MeanMetric())}

    def factor(self, loss: Tensor) -> Any:
        self.running.update(loss)
        self.listed[0].update(loss)
        self.by_name["all"].update(loss)
        extremes = self.by_name["all"].compute()
        added = self.running.compute() + self.listed[0].compute() / 10 + extremes["max"] + extremes["min"]
        return super().factor(loss) * (1 + added)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.running.reset()


class LogsMetrics(Base):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.of_train, self.of_val = MulticlassAccuracy(10), MulticlassAccuracy(10)

    def factor(self, loss: Tensor) -> Any:
        self.of_train(torch.rand(4, 10), torch.arange(4))
        self.log("of_train", self.of_train, on_step=True, on_epoch=True)
        return super().factor(loss)

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.of_val.update(torch.rand(4, 10), torch.arange(4))

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.log("of_val", self.of_val.compute())
        self.of_val.reset()


class FreezesNorm(Base):
    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if self.current_epoch == 1:
            self.network[1].eval()
            self.network[0].requires_grad_(False)


class Draws(Base):
    """From generators of its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.numpys, self.others = np.random.default_rng(1), [random.Random(2), torch.Generator().manual_seed(3)]

    def factor(self, loss: Tensor) -> Any:
        pythons, torchs = self.others
        return super().factor(loss) * (1 + self.numpys.random() + pythons.random() + torch.rand((), generator=torchs))


class Outputs(Base):
    """Of a validation, which change the training after it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.outputs: list[Tensor] = []
        self.best, self.validations = float("inf"), 0

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.outputs.append(torch.rand(()))

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.best = min(self.best, float(torch.stack(self.outputs).mean()))
        self.validations += 1
        self.outputs.clear()
        self.log("best", self.best)

    def factor(self, loss: Tensor) -> Any:
        return super().factor(loss) * (1 + min(self.best, 10.0) + self.validations)


class Hyperparameters(Base):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hparams["warm"] = 0

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.hparams["warm"] += 1

    def factor(self, loss: Tensor) -> Any:
        return super().factor(loss) * (1 + self.hparams["warm"])


class Teacher(Base):
    """A copy of the network that follows it, and is no submodule."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.teachers = [nn.Linear(10, 10)]

    def on_before_zero_grad(self, optimizer: Any) -> None:
        super().on_before_zero_grad(optimizer)
        with torch.no_grad():
            for parameter in self.teachers[0].parameters():
                parameter.mul_(0.9).add_(self.network[4].bias.float().mean() / 10)

    def factor(self, loss: Tensor) -> Any:
        return super().factor(loss) * (1 + self.teachers[0].weight.detach().square().sum())


class Follower(Base):
    """A copy of the network that follows it, and is a submodule without gradients."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.follower = copy.deepcopy(self.network).requires_grad_(False)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(outputs, batch, batch_idx)
        for mine, other in zip(self.follower.parameters(), self.network.parameters(), strict=True):
            mine.data.lerp_(other.data, 0.1)

    def factor(self, loss: Tensor) -> Any:
        weight: Any = self.follower[0].weight
        return super().factor(loss) * (1 + weight.square().mean())


class ScalesGradients(Base):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steps = np.zeros(2)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        super().on_before_optimizer_step(optimizer)
        self.steps[1] += 1
        for parameter in self.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(1 + self.steps[1] / 20)


class SavesItself(Base):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kept = SimpleNamespace(total=0.0, values={"seen": [0]})

    def on_save_checkpoint(self, checkpoint: Any) -> None:
        checkpoint["kept"] = self.kept.total

    def on_load_checkpoint(self, checkpoint: Any) -> None:
        self.kept.total = checkpoint["kept"]

    def factor(self, loss: Tensor) -> Any:
        self.kept.total += float(loss)
        self.kept.values["seen"][0] += 1
        return super().factor(loss) * (1 + self.kept.total + self.kept.values["seen"][0] / 10)


class ExtraState(Base):
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def get_extra_state(self) -> Any:
            return {"count": self.count}

        def set_extra_state(self, state: Any) -> None:
            self.count = state["count"]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.counter = self.Counts()

    def factor(self, loss: Tensor) -> Any:
        self.counter.count += 1
        return super().factor(loss) * (1 + self.counter.count / 10)


class SetsRate(Base):
    """The learning rate, by hand."""

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        optimizers: Any = self.trainer.optimizers
        for group in optimizers[0].param_groups:
            group["lr"] *= 0.7


class Curriculum(Base):
    """Its dataset's difficulty."""

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        for loader in self.trainer.fit_loop._combined_loader.flattened:  # type: ignore[union-attr]
            loader.dataset.difficulty = self.current_epoch


class LogsMuch(Base):
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        self.log("start/sum", float(batch_idx), on_step=False, on_epoch=True, reduce_fx="sum")

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        super().on_before_optimizer_step(optimizer)
        norms = [one.grad.norm() for one in self.parameters() if one.grad is not None]
        self.log_dict({"norm/max": torch.stack(norms).max(), "norm/mean": torch.stack(norms).mean()})

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log("epochs", float(self.current_epoch))

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().on_validation_batch_end(outputs, batch, batch_idx, dataloader_idx)
        self.log("val/noise", torch.rand(()), on_step=True, on_epoch=True, reduce_fx="max", batch_size=1)


@dataclass
class Record:
    steps: int = 0
    more: dict[str, Any] = field(default_factory=dict)


class Objects(Base):
    """Objects of its own, in each other."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.record = Record(more={"inner": [Record(), Record()]})

    def factor(self, loss: Tensor) -> Any:
        self.record.steps += 1
        self.record.more["inner"][1].steps += 2
        return super().factor(loss) * (1 + self.record.steps / 10 + self.record.more["inner"][1].steps)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.record = Record(more=self.record.more)


class Scores(list):  # type: ignore[type-arg]
    """A list with a method, as users write them."""

    def mean(self) -> float:
        return sum(self) / max(1, len(self))


class OwnContainers(Base):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scores = Scores()

    def factor(self, loss: Tensor) -> Any:
        self.scores.append(float(loss))
        return super().factor(loss) * (1 + self.scores.mean())


class ReplacedFunction(Base):
    """A function in place of another: cannot be saved."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale: Callable[[Any], Any] = lambda loss: loss

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        epoch = self.current_epoch
        if epoch:
            self.scale = lambda loss: loss * (1 + epoch)

    def factor(self, loss: Tensor) -> Any:
        return super().factor(self.scale(loss)) * self.scale(1.0)


class Iterates(Base):
    """An iterator: cannot be read."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.numbers = count(1)

    def factor(self, loss: Tensor) -> Any:
        return super().factor(loss) * (1 + next(self.numbers) / 10)


class Yields(Base):
    """A generator function's state: cannot be read."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.holder = {"yields": (n / 10 for n in range(10**6))}

    def factor(self, loss: Tensor) -> Any:
        return super().factor(loss) * (1 + next(self.holder["yields"]))


class Closure(Base):
    """A function that remembers, in its closure."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        total = 0.0

        def add(value: float) -> float:
            nonlocal total
            total += value
            return total

        self.add = add

    def factor(self, loss: Tensor) -> Any:
        return super().factor(loss) * (1 + self.add(float(loss)))


class BoundMethod(Base):
    """A method of an object that nothing else has, and a partial of one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.remember, self.more = Counter({"calls": 0}).update, partial(_append_to, [])

    def factor(self, loss: Tensor) -> Any:
        self.remember({"calls": 1})
        counter: Any = self.remember.__self__  # type: ignore[attr-defined]
        return super().factor(loss) * (1 + counter["calls"] + self.more(1))


def _append_to(values: list[int], value: int) -> int:
    values.append(value)
    return len(values)


class Opaque(Base):
    """An object with slots that changes, and holds what is not plain."""

    class Box:
        __slots__ = ("inside", "made")

        def __init__(self) -> None:
            self.inside, self.made = 0, object()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.box = self.Box()

    def factor(self, loss: Tensor) -> Any:
        self.box.inside += 1
        return super().factor(loss) * (1 + self.box.inside)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.box.made = object()


FEATURES: dict[str, type[Base]] = {
    one.__name__: one
    for one in (
        *(AnnealsBeta, MovesDropout, Flag, CountsBatches, PastLosses, HiddenBuffer, Metrics, LogsMetrics, FreezesNorm),
        *(Draws, Outputs, Hyperparameters, Teacher, Follower, ScalesGradients, SavesItself, ExtraState, SetsRate),
        *(Curriculum, LogsMuch, Objects, OwnContainers),
    )
}
UNSAVED = {one.__name__: one for one in (ReplacedFunction, Iterates, Yields, Closure, BoundMethod, Opaque)}

SCHEDULERS: dict[str, dict[str, Any]] = {
    "step by epoch": {"scheduler": partial(lr_scheduler.StepLR, step_size=1, gamma=0.5)},
    "step by step": {"scheduler": partial(lr_scheduler.StepLR, step_size=4, gamma=0.7), "interval": "step"},
    "every second step": {
        "scheduler": partial(lr_scheduler.ExponentialLR, gamma=0.9), "interval": "step", "frequency": 2},
    "one cycle": {"scheduler": partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=60), "interval": "step"},
    "cosine": {"scheduler": partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=5), "interval": "step"},
    "plateau": {"scheduler": partial(lr_scheduler.ReduceLROnPlateau, patience=0, threshold=0.3, factor=0.5)},
    "plateau by step": {
        "scheduler": partial(lr_scheduler.ReduceLROnPlateau, patience=1, threshold=0.3, factor=0.5),
        "interval": "step", "monitor": "train/loss", "strict": False},
}  # fmt: skip
OPTIMIZERS: dict[str, Any] = {
    "sgd": partial(torch.optim.SGD, lr=0.02, momentum=0.9),
    "adam": partial(torch.optim.AdamW, lr=0.01),
}


class Plain(Base):
    """Plain Lightning."""

    def __init__(self, *, optimizer: Any, scheduler: Any, **kwargs: Any) -> None:
        super().__init__()
        self.network, self.make, self.schedule = network(), optimizer, scheduler

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.training_loss(batch)
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        self.log("train/last", loss.detach() * 2, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        loss = self.loss(batch)
        self.log("val/loss", loss, batch_size=4)
        self.log("val/each", loss, on_step=True, on_epoch=True, batch_size=4)

    def configure_optimizers(self) -> Any:
        optimizer = self.make(self.parameters())
        if self.schedule is None:
            return optimizer
        schedule = {**self.schedule, "scheduler": self.schedule["scheduler"](optimizer)}
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class PlainManual(Plain):
    """Two optimizers, stepped by hand, one of them every second batch."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        optimizers: Any = self.optimizers()
        for number, optimizer in enumerate(optimizers):
            if number == 0 or batch_idx % 2:
                optimizer.step()
                optimizer.zero_grad()
        if batch_idx == STEPS - 1:
            schedulers: Any = self.lr_schedulers()
            schedulers.step()
        return loss

    def configure_optimizers(self) -> Any:
        first, last = self.make(self.network[:3].parameters()), torch.optim.Adam(self.network[4].parameters(), lr=0.01)
        return [first, last], [lr_scheduler.StepLR(first, 1, 0.5)]


class Lighter(lighter.LighterModule, Base):
    """`LighterModule`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(network=network(), criterion=nn.CrossEntropyLoss(), train_metrics=MulticlassAccuracy(10),
                         val_metrics=MulticlassAccuracy(10), **kwargs)  # fmt: skip

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        for pred, target in self.predict(batch):
            self.train_metrics(pred.detach().float(), target)
        return self.training_loss(batch)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        for pred, target in self.predict(batch):
            self.val_metrics(pred.float(), target)
        return self.loss(batch)


class Forward(lighter.ForwardModule, Base):
    """`ForwardModule`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(model=network(), evaluator_cfg={"accuracy": MulticlassAccuracy(10)}, **kwargs)

    @property
    def network(self) -> Any:  # type: ignore[override]
        return self.model

    def forward(self, batch: Any) -> Any:
        pred, target = next(self.predict(batch))
        loss = self.training_loss(batch) if self.mode == "train" else self.loss(batch)
        return {"loss_dict": {"ce_loss": loss}, "metric_dict": {"preds": pred.float(), "target": target}}


class OfSystem(lighter.System, Base):
    """`System`, with one method of the user's."""

    def __init__(self, data: Data, **kwargs: Any) -> None:
        adapters = {"batch": BatchAdapter(input_accessor=0, target_accessor=1)}
        super().__init__(model=network(), criterion=nn.CrossEntropyLoss(), metrics={"train": [MulticlassAccuracy(10)]},
                         adapters={"train": adapters, "val": adapters},
                         dataloaders={"train": data.train_dataloader(), "val": data.val_dataloader()},
                         **kwargs)  # fmt: skip

    @property
    def network(self) -> Any:  # type: ignore[override]
        return self.model

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss: Any = super().compute_loss(*args, **kwargs)
        return loss * bounded(self.factor(loss.detach())) if self.training else loss


RUNGS: dict[str, type[Base]] = {
    "plain": Plain, "manual": PlainManual, "lighter": Lighter, "forward": Forward, "system": OfSystem
}  # fmt: skip
MONITORS = {"lighter": "val/loss/epoch", "system": "val/loss/epoch", "forward": "val/loss/total/epoch"}


def module(rung: str, features: list[str], optimizer: str, scheduler: str | None, **kwargs: Any) -> pl.LightningModule:
    """A module of a rung, with features."""
    given = {**SCHEDULERS[scheduler]} if scheduler else None
    if given is not None and scheduler == "plateau":
        given["monitor"] = kwargs.pop("monitor")
    kwargs.pop("monitor", None)
    kind = type("Generated", (*((FEATURES | UNSAVED)[name] for name in features), RUNGS[rung]), {})
    made: pl.LightningModule = kind(optimizer=OPTIMIZERS[optimizer], scheduler=given, **kwargs)
    return made


class Difficult(Digits):
    """Digits whose noise depends on what a hook has set."""

    difficulty = 0

    def __getitem__(self, index: int) -> Any:
        image, *rest = super().__getitem__(index)
        return image * (1 + self.difficulty), *rest


class Remembers(Digits):
    """Digits that depend on how many were served."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__(start, end)
        self.served = 0

    def __getitem__(self, index: int) -> Any:
        self.served += 1
        image, *rest = super().__getitem__(index)
        return image + self.served / 100, *rest


class Data(pl.LightningDataModule):
    """The dataloaders of a job.

    Args:
        kind: of the training data.
        mode: of the `CombinedLoader` of two; a dict of them if it is "dict".
        workers: of training and validation.
        vals: whether the data of each validation dataloader is shuffled.
        counts: whether batches are counted, and changed by the count.
    """

    def __init__(self, kind: str = "shuffled", mode: str | None = None, workers: int = 0, *,
                 persistent: bool = False, vals: list[bool] | None = None, counts: bool = False) -> None:  # fmt: skip
        super().__init__()
        self.kind, self.mode, self.vals, self.counts, self.moved = kind, mode, vals or [False], counts, 0
        self.workers: dict[str, Any] = {"num_workers": workers, "persistent_workers": persistent and workers > 0}

    def _loader(self, start: int) -> Any:
        end = start + 4 * STEPS
        dataset = Difficult(start, end)
        if self.kind == "batch sampler":
            return DataLoader(dataset, batch_sampler=Batches(4 * STEPS, 4), **self.workers)
        if self.kind == "weighted":
            return DataLoader(dataset, 4, sampler=weighted(4 * STEPS), **self.workers)
        if self.kind == "stream":
            return DataLoader(Stream(start, end), 4, **self.workers)
        if self.kind in ("stream with state", "stateful"):
            from torchdata.stateful_dataloader import StatefulDataLoader

            data = StreamWithState(start, end) if self.kind == "stream with state" else dataset
            return StatefulDataLoader(data, 4, shuffle=self.kind == "stateful", **self.workers)
        if self.kind == "remembers":
            return DataLoader(Remembers(start, end), 4, shuffle=True, **self.workers)
        return DataLoader(
            dataset, 4, shuffle=self.kind == "shuffled", drop_last=self.kind == "in order", **self.workers
        )

    def train_dataloader(self) -> Any:
        if self.mode is None:
            return self._loader(0)
        loaders = {"a": self._loader(0), "b": DataLoader(Difficult(100, 112), 3, shuffle=True, **self.workers)}
        return loaders if self.mode == "dict" else CombinedLoader(loaders, self.mode)

    def val_dataloader(self) -> Any:
        loaders = [DataLoader(Digits(300 + 20 * n, 312 + 20 * n), 4, shuffle=shuffle, **self.workers)
                   for n, shuffle in enumerate(self.vals)]  # fmt: skip
        return loaders if len(loaders) > 1 else loaders[0]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if not self.counts:
            return batch
        self.moved += 1
        for image, _ in pairs(batch):
            image += self.moved / 100
        return batch


class CountsSteps(Callback):
    """Without a state of its own."""

    def __init__(self) -> None:
        self.count = 0

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self.count += 1
        for parameter in pl_module.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(1 + self.count / 20)


class HasState(Callback):
    def __init__(self) -> None:
        self.total = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.total = state_dict["total"]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.total += float(outputs["loss"] if isinstance(outputs, dict) else outputs)
        pl_module.log("total", self.total)


class SetsModule(Callback):
    """An attribute of the network, as callbacks that anneal do, and the trainer's clipping."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        pl_module.network[1].momentum = 0.1 + 0.2 * trainer.current_epoch
        if trainer.gradient_clip_val is not None:
            trainer.gradient_clip_val = 0.5 + trainer.current_epoch


class Stops(Callback):
    """The fit, after so many validations with a middling draw."""

    def __init__(self, after: int) -> None:
        self.after, self.seen = after, 0

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self.seen += 1
            trainer.should_stop = trainer.should_stop or self.seen >= self.after


class Thaws(BaseFinetuning):
    """The first layer, from the second epoch on."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.network[0])

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.network[0], optimizer, lr=0.01)


class LogsItself(Callback):
    """Straight to the loggers."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % 3 == 1:
            for logger in trainer.loggers:
                logger.log_metrics({"direct": float(trainer.global_step)}, step=trainer.global_step)


HOOKS = ("on_train_epoch_start", "on_train_batch_start", "on_train_batch_end", "on_validation_start",
         "on_validation_batch_end", "on_validation_epoch_end", "on_validation_end", "on_train_epoch_end")  # fmt: skip


def saves_at(hook: str, every: int) -> Checkpoint:
    """A callback that saves in a hook, where the fit's counters say so, which are the same in a fit that goes on."""

    def save(self: Checkpoint, trainer: Any, *_: Any) -> None:
        loop = trainer.fit_loop.epoch_loop
        at = loop.batch_progress.total.ready + loop.val_loop.batch_progress.current.ready + trainer.current_epoch
        if not trainer.sanity_checking and at % every == 0:
            trainer.save_checkpoint(f"{trainer.default_root_dir}/checkpoints/at.ckpt")

    saves: Checkpoint = type("SavesAt", (Checkpoint,), {hook: save})()
    return saves
