"""One training job, written once for each side that `step_overhead.py` compares.

The job: scikit-learn's handwritten digits, a 64-64-10 MLP, Adam, batches of 32, accuracy and macro F1, one thread. A
side takes a number of epochs and returns an `Outcome`. Run as a script, this file is the worker that trains the
`LighterModule` of another environment: it answers each line of its input, a number of epochs, with a line of JSON.
"""

from __future__ import annotations

import csv
import functools
import gc
import hashlib
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import pairwise
from time import perf_counter, process_time
from typing import Any, NamedTuple, TextIO

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score, MulticlassFBetaScore

OF_PROCESSOR = os.environ.get("BENCHMARK_CLOCK") == "processor"
"""Whether processor time is measured: other processes that share the cores add less to it."""
clock = process_time if OF_PROCESSOR else perf_counter  # both with what writing the log takes
TIMED = "processor time" if OF_PROCESSOR else "wall time"


class Outcome(NamedTuple):
    """What training on one side came to.

    Attributes:
        seconds_per_step: by `clock`, between the start and the end of training, without setting up and tearing down.
        weights: a hash of the final weights, bit for bit.
        measured: loss, accuracy and F1 of the last epoch; empty for a side that measures nothing.
    """

    seconds_per_step: float
    weights: str
    measured: dict[str, float]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


def large_cnn() -> nn.Module:
    """5 million parameters."""
    widths = (1, 128, 256, 512, 512)
    blocks = [
        nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())
        for before, after in pairwise(widths)
    ]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(2048, 512), nn.ReLU(), nn.Linear(512, 10))
    return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *blocks, nn.MaxPool2d(2), head)


def transformer() -> nn.Module:
    """10 million parameters; a digit is a sequence of 8 rows."""
    layer = nn.TransformerEncoderLayer(320, 8, 1280, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 8, enable_nested_tensor=False)
    return nn.Sequential(nn.Unflatten(1, (8, 8)), nn.Linear(8, 320), encoder, nn.Flatten(), nn.Linear(2560, 10))


def compiled() -> nn.Module:
    return torch.compile(mlp())  # type: ignore[return-value]


class Shape(NamedTuple):
    """How a job may differ from the one above.

    Attributes:
        samples: the digits are repeated, or cut, to so many.
        metrics: how many there are.
    """

    batch_size: int = 32
    network: Callable[[], nn.Module] = mlp
    accumulate: int = 1
    samples: int | None = None
    metrics: int = 2


PLAIN = Shape()


class Job(NamedTuple):
    """The parts that all sides share, made anew for each run and always from the same seed."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    metrics: MetricCollection
    loader: DataLoader


@functools.cache
def digits() -> TensorDataset:
    data = load_digits()
    return TensorDataset(torch.tensor(data.data, dtype=torch.float32) / 16, torch.tensor(data.target))


@functools.cache
def digits_of(samples: int | None) -> TensorDataset:
    if samples is None:
        return digits()
    times = -(-samples // len(digits()))
    return TensorDataset(*(torch.cat([tensor] * times)[:samples] for tensor in digits().tensors))


def make_job(shape: Shape = PLAIN) -> Job:
    torch.manual_seed(1)
    network = shape.network()
    metrics = {"accuracy": MulticlassAccuracy(10, average="micro"), "f1": MulticlassF1Score(10, average="macro")}
    metrics |= {f"f{beta}": MulticlassFBetaScore(float(beta), 10) for beta in range(2, shape.metrics)}
    order = torch.Generator().manual_seed(1)
    return Job(
        network,
        torch.optim.Adam(network.parameters()),
        MetricCollection(metrics),
        DataLoader(digits_of(shape.samples), batch_size=shape.batch_size, shuffle=True, generator=order),
    )


class Rows:
    """What a plain loop logs, as rows of a CSV file: those of every 50th step and of every epoch, as the sides' do."""

    EVERY = 50

    def __init__(self, file: TextIO, metrics: MetricCollection) -> None:
        values = (f"{name}/{of}" for name in ("loss", *metrics) for of in ("step", "epoch"))
        self._file, self._writer = file, csv.DictWriter(file, ("step", "epoch", *values))
        self._writer.writeheader()

    def of_step(self, step: int, epoch: int, loss: Tensor, values: dict[str, Tensor]) -> None:
        self._write(step, epoch, "step", {"loss": float(loss), **{name: float(v) for name, v in values.items()}})

    def of_epoch(self, step: int, epoch: int, loss: Tensor, values: dict[str, Tensor]) -> dict[str, float]:
        row = {"loss": float(loss), **{name: float(v) for name, v in values.items()}}
        self._write(step, epoch, "epoch", row)
        self._file.flush()
        return row

    def _write(self, step: int, epoch: int, of: str, values: dict[str, float]) -> None:
        row = {f"{name}/{of}": value for name, value in values.items()}
        self._writer.writerow({"step": step, "epoch": epoch, **row})


class Indexed:
    """The batches of a loader over tensors, in an order of their own, by one index for a whole batch."""

    def __init__(self, loader: DataLoader) -> None:
        self._tensors, self._size, self._generator = loader.dataset.tensors, loader.batch_size, loader.generator
        self._batches = len(loader)

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        x, y = self._tensors
        order = torch.randperm(len(x), generator=self._generator)
        for begin in range(0, len(x), self._size):
            batch = order[begin : begin + self._size]
            yield x[batch], y[batch]


def hand_written(epochs: int, shape: Shape = PLAIN, *, indexes: bool = False) -> Outcome:
    """The yardstick: a plain loop that measures and logs the same.

    Args:
        indexes: whether the loop indexes its batches itself, rather than take them from a `DataLoader`.
    """
    network, optimizer, metrics, loader = make_job(shape)
    loader = Indexed(loader) if indexes else loader
    batches, together, steps = len(loader), shape.accumulate, 0
    with tempfile.TemporaryFile("w+", newline="") as file:
        gc.collect()
        start = clock()
        rows = Rows(file, metrics)
        for epoch in range(epochs):
            metrics.reset()
            total, samples = torch.zeros(()), 0
            for index, (x, y) in enumerate(loader):
                is_last = (index + 1) % together == 0 or index + 1 == batches
                if index % together == 0:
                    optimizer.zero_grad()
                pred = network(x)
                loss = cross_entropy(pred, y)
                (loss if together == 1 else loss / together).backward()
                if is_last:
                    optimizer.step()
                    steps += 1
                if is_last and steps % Rows.EVERY == 0:
                    rows.of_step(steps - 1, epoch, loss, metrics(pred.detach(), y))
                else:
                    metrics.update(pred.detach(), y)
                total += loss.detach() * len(x)
                samples += len(x)
            measured = rows.of_epoch(steps - 1, epoch, total / samples, metrics.compute())
        seconds = clock() - start
    return Outcome(seconds / (epochs * batches), fingerprint(network), measured)


def hand_written_bare(epochs: int, shape: Shape = PLAIN, *, indexes: bool = False) -> Outcome:
    """The yardstick of a side that measures nothing."""
    network, optimizer, _, loader = make_job(shape)
    loader = Indexed(loader) if indexes else loader
    gc.collect()
    start = clock()
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()
    return Outcome((clock() - start) / (epochs * len(loader)), fingerprint(network), {})


def hand_written_validation(epochs: int) -> Outcome:
    network, _, metrics, loader = make_job()
    steps = 0
    with torch.inference_mode(), tempfile.TemporaryFile("w+", newline="") as file:
        gc.collect()
        start = clock()
        rows = Rows(file, metrics)
        network.eval()
        for epoch in range(epochs):
            metrics.reset()
            total, samples = torch.zeros(()), 0
            for index, (x, y) in enumerate(loader):
                pred = network(x)
                loss = cross_entropy(pred, y)
                if index % Rows.EVERY == 0:
                    rows.of_step(steps, epoch, loss, metrics(pred, y))
                else:
                    metrics.update(pred, y)
                total += loss * len(x)
                samples += len(x)
                steps += 1
            measured = rows.of_epoch(steps, epoch, total / samples, metrics.compute())
        seconds = clock() - start
    return Outcome(seconds / (epochs * len(loader)), fingerprint(network), measured)


def hand_written_prediction(epochs: int) -> Outcome:
    network, _, _, loader = make_job()
    gc.collect()
    start = clock()
    with torch.inference_mode():
        network.eval()
        for _ in range(epochs):
            predictions = [network(x) for x, _ in loader]
    seconds = clock() - start
    return Outcome(seconds / (epochs * len(predictions)), fingerprint(network), {})


class Timed(LightningModule):
    """Knows how long its loops took. A callback would add to the steps that it times; hooks of the module do not."""

    seconds = 0.0

    def on_train_start(self) -> None:
        self.started = clock()

    def on_train_end(self) -> None:
        self.seconds += clock() - self.started

    on_validation_start = on_predict_start = on_train_start
    on_validation_end = on_predict_end = on_train_end


class Bare(Timed):
    """Trains and measures nothing."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.network, self.optimizer = job.network, job.optimizer

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        return cross_entropy(self.network(x), y)

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.network(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer


class MetricsOnly(Bare):
    """Updates its metrics and logs nothing."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.metrics = job.metrics

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        pred = self.network(x)
        self.metrics.update(pred.detach(), y)
        return cross_entropy(pred, y)


class Idiom(Bare):
    """Logs as the guides of Lightning and torchmetrics show it, a value per step and one per epoch."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.metrics = nn.ModuleDict(job.metrics.items())

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.step("train", batch)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.step("val", batch)

    def step(self, mode: str, batch: list[Tensor]) -> Tensor:
        x, y = batch
        pred = self.network(x)
        loss = cross_entropy(pred, y)
        self.log(f"{mode}/loss", loss, on_step=True, on_epoch=True)
        for name, metric in self.metrics.items():
            metric(pred, y)
            self.log(f"{mode}/{name}", metric, on_step=True, on_epoch=True)
        return loss


@functools.cache
def lighter_class() -> type:
    """The user's class, the same for each Lighter: whichever is installed where this runs."""
    from lighter import LighterModule

    class Classifier(Timed, LighterModule):
        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            x, y = batch
            pred = self(x)
            self.train_metrics(pred, y)
            return self.criterion(pred, y)

        def validation_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            x, y = batch
            pred = self(x)
            self.val_metrics(pred, y)
            return self.criterion(pred, y)

        def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            return self(batch[0])

    return Classifier


def lighter_module(job: Job) -> Timed:
    return lighter_class()(
        network=job.network,
        criterion=cross_entropy,
        optimizer=job.optimizer,
        train_metrics=job.metrics,
        val_metrics=job.metrics,
    )


def system(job: Job) -> Timed:
    """No class of the user's; this one only keeps the time."""
    from lighter import System

    class TimedSystem(Timed, System):
        pass

    return TimedSystem(
        model=job.network, criterion=cross_entropy, optimizer=job.optimizer, metrics={"train": job.metrics}
    )


def as_lightning(**arguments: Any) -> Trainer:
    """Our Trainer, doing no more than Lightning's: with its random streams, and any loss. Weights can be compared."""
    import lighter

    return lighter.Trainer(exact_resume=False, on_non_finite="continue", **arguments)


def lightning(
    make_module: Callable[[Job], Timed],
    epochs: int,
    trainer_class: Callable[..., Trainer] = Trainer,
    shape: Shape = PLAIN,
    stage: str = "fit",
) -> Outcome:
    """Any side that a trainer runs: it fits, or validates or predicts as often as there are epochs."""
    job = make_job(shape)
    module = make_module(job)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_class(
            max_epochs=epochs,
            accumulate_grad_batches=shape.accumulate,
            accelerator="cpu",
            logger=CSVLogger(folder),
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        gc.collect()
        if stage == "fit":
            trainer.fit(module, job.loader)
        for _ in range(0 if stage == "fit" else epochs):
            trainer.predict(module, job.loader) if stage == "predict" else trainer.validate(
                module, job.loader, verbose=False
            )
    steps = epochs * len(job.loader)
    return Outcome(module.seconds / steps, fingerprint(job.network), last_epoch(trainer.callback_metrics))


def last_epoch(values: dict[str, Any]) -> dict[str, float]:
    """Loss, accuracy and F1 of the last epoch, whatever a side calls them."""
    ends = {name: value for name, value in values.items() if name.endswith("epoch")}
    return {short: float(v) for short in ("loss", "accuracy", "f1") for name, v in ends.items() if short in name}


def fingerprint(network: nn.Module) -> str:
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in network.parameters())).hexdigest()


def settle() -> None:
    """What all processes have in common: one thread, and nothing printed."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


def serve() -> None:
    """Train once for each line that comes in, for as long as lines come."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what the libraries print is no answer
        lighter_class()
        settle()
        print(version("lighter"), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(lightning(lighter_module, int(line))), file=answers, flush=True)


if __name__ == "__main__":
    serve()
