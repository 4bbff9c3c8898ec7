"""Attributes that hooks change are part of a fit: they are restored when it resumes, or it says that they are not."""

from __future__ import annotations

import random
from array import array
from collections import Counter, OrderedDict, deque, namedtuple
from collections.abc import Callable
from enum import Enum
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Sampler, Subset
from torchdata.stateful_dataloader import StatefulDataLoader
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAccuracy

import lighter
from tests.slow import mostly_slow
from tests.trainer.resume.cuts import BATCH, Job, Module, Samples, Watch, broken, fit


class Anneals(Module):
    """Plain attributes of the module and of its submodules."""

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters({"warm": 0.0})
        self.beta, self.history, self.last, self.seen = 0.0, [], deque(maxlen=3), Counter()

    def on_train_epoch_start(self) -> None:
        self.beta = min(1, self.current_epoch / 4 + 0.1)
        self.hparams.warm = self.current_epoch / 10
        self.network[2].p = 0.1 * self.current_epoch
        self.network[1].momentum = 0.1 + 0.1 * self.current_epoch

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen["steps"] += 1
        loss = super().training_step(batch, batch_idx) * (1 + self.beta + self.hparams.warm + sum(self.last))
        self.history.append(loss.detach())
        self.last.append(loss.detach().item())
        return loss + self.seen["steps"] * loss / 100 + sum(self.history) * loss


class Phase(Enum):
    EVEN, ODD = 1, 2


class Mean:
    def __init__(self) -> None:
        self.total = 0.0


class Holds(Module):
    """Objects, metrics, generators, arrays and a module in lists and dicts; a buffer that is not persistent."""

    def __init__(self) -> None:
        super().__init__()
        self.means, self.metrics, self.phase = [Mean(), Mean()], {"mean": MeanMetric()}, Phase.EVEN
        self.draws = np.random.default_rng(3)
        self.more = [random.Random(3), torch.Generator().manual_seed(3)]
        self.array, self.teacher = np.zeros(3), [nn.Linear(4, 4)]
        self.register_buffer("mean", torch.zeros(()), persistent=False)

    def on_train_epoch_start(self) -> None:
        self.phase = Phase.ODD if self.current_epoch % 2 else Phase.EVEN
        self.means[0] = Mean()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        for mean in self.means:
            mean.total += loss.detach().item()
        self.metrics["mean"].update(loss.detach())
        self.mean.mul_(0.9).add_(loss.detach())
        self.array[1] += 1
        for parameter in self.teacher[0].parameters():
            parameter.data.mul_(0.9)
        drawn = self.draws.random() + self.more[0].random() + torch.rand((), generator=self.more[1])
        held = self.means[0].total + self.means[1].total + self.array.sum() + self.phase.value
        return loss * (1 + drawn + held + self.mean + self.metrics["mean"].compute() + self.teacher[0].weight.sum())

    def on_train_epoch_end(self) -> None:
        self.metrics["mean"].reset()


class Collects(Module):
    """The outputs of a validation, as Lightning's guide keeps them; the sanity check counts as well."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs, self.count = [], 0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.outputs.append(self.loss(batch))
        self.count += 1

    def on_validation_epoch_end(self) -> None:
        self.log("val/loss", torch.stack(self.outputs).mean() + self.count)
        self.outputs.clear()


class Counts(pl.Callback):
    def __init__(self) -> None:
        self.count = 0

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self.count += 1
        for parameter in pl_module.parameters():
            parameter.grad.mul_(1 + self.count / 10)


class Knows(pl.Callback):
    """Keeps the module, and a layer of it: what they have is theirs, in the mode that they are in."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.module, self.layers = pl_module, [pl_module.network[1]]


class Evaluates(lighter.ForwardModule):
    """Evaluators of several dataloaders, of which those of the second are made when there is one."""

    def __init__(self) -> None:
        optimizer = partial(torch.optim.SGD, lr=0.01)
        super().__init__(model=nn.Linear(4, 1), optimizer=optimizer, evaluator_cfg={"val": MeanMetric()})

    def forward(self, batch: Any) -> Any:
        loss = self.model(batch[0]).square().mean()
        return {"loss_dict": {"square_loss": loss}, "metric_dict": {"value": loss.detach()}}


class Remembers(Samples):
    """Its samples depend on how many it has served, and on a generator of its own."""

    def __init__(self) -> None:
        self.served, self.draws = 0, np.random.default_rng(1)

    def __getitem__(self, index: Any) -> Any:
        self.served += 1
        x, *rest = super().__getitem__(index)
        return x + self.served + float(self.draws.random()), *rest


class Difficult(Samples):
    difficulty = 0

    def __getitem__(self, index: Any) -> Any:
        x, *rest = super().__getitem__(index)
        return x * (1 + self.difficulty), *rest


class Curriculum(Module):
    """Makes its dataset harder in each epoch."""

    def on_train_epoch_start(self) -> None:
        loader = self.trainer.train_dataloader
        assert loader is not None
        loader.dataset.difficulty = self.current_epoch


class Reshuffles(Sampler):
    """Counts epochs itself."""

    def __init__(self, samples: Any) -> None:
        self.samples, self.epoch, self.draws = samples, 0, random.Random(1)

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Any:
        self.epoch += 1
        order = self.draws.sample(range(len(self)), len(self))
        return iter(order[self.epoch :] + order[: self.epoch])


def reshuffled(workers: int) -> DataLoader:
    return DataLoader(Samples(), BATCH, sampler=Reshuffles(Samples()), num_workers=workers)


class Scores(list):
    """A list with a method."""

    def mean(self) -> float:
        return sum(self) / max(1, len(self))


class ByName(OrderedDict):
    __slots__ = ()


class OwnContainers(Module):
    """Of classes of the user's, in each other."""

    def __init__(self) -> None:
        super().__init__()
        self.scores, self.named = Scores(), {"all": ByName(steps=0)}

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.scores.append(loss.item())
        self.named["all"]["steps"] += 1
        return loss * (1 + self.scores.mean() + self.named["all"]["steps"])


def counter(total: float = 0.0) -> Callable[[float], float]:
    past: list[float] = []

    def add(value: float) -> float:
        nonlocal total
        total += value
        past.append(value)
        return total + sum(past)

    return add


def appended(values: list[float], value: float, *, seen: Counter[str]) -> float:
    values.append(value)
    seen["calls"] += 1
    return sum(values) + seen["calls"]


class Remember(Module):
    """Functions that remember: in closures, arguments and the object that they are of."""

    def __init__(self) -> None:
        super().__init__()
        self.add, self.update = counter(), Counter(calls=0).update
        self.append, self.mean = partial(appended, [], seen=Counter()), {"of": MeanMetric()}
        self.held = [Mean().__dict__.update, self.mean["of"].update]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        value = loss.item()
        self.update({"calls": 1})
        self.held[1](value)
        calls = self.update.__self__["calls"]
        return loss * (1 + self.add(value) + self.append(value) + calls + self.mean["of"].compute())


class Redirects(Module):
    """Leaves a method as an attribute, as Lightning does with `forward` in each step of DDP."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        method = self.loss
        self.loss = lambda batch: method(batch)
        loss = super().training_step(batch, batch_idx)
        self.loss = method
        return loss


JOBS: dict[str, Callable[[], Job]] = {
    "plain attributes": lambda: Job(Anneals()),
    "objects": lambda: Job(Holds()),
    "containers of classes of the user's": lambda: Job(OwnContainers()),
    "a method that is left as an attribute": lambda: Job(Redirects()),
    "functions that remember": lambda: Job(Remember()),
    "outputs of a validation": lambda: Job(Collects(), trainer={"val_check_interval": 2}),
    "a callback without state_dict": lambda: Job(trainer={"callbacks": [Counts()]}),
    "a callback that keeps the module": lambda: Job(trainer={"callbacks": [Knows()]}),
    "evaluators of several dataloaders": lambda: Job(
        Evaluates(), val=[DataLoader(Samples(), 2 * BATCH), DataLoader(Samples(), 2 * BATCH)]
    ),
    "a curriculum": lambda: Job(Curriculum(), train=DataLoader(Difficult(), BATCH)),
    "a curriculum, of a loader with a state": lambda: Job(Curriculum(), train=StatefulDataLoader(Difficult(), BATCH)),
    "a sampler that counts": lambda: Job(train=reshuffled(0)),
    "a sampler that counts, in workers": lambda: Job(train=reshuffled(1)),
}


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata's
@pytest.mark.parametrize("name", mostly_slow(JOBS, 0))
def test_resumes_from_every_moment(name: str, tmp_path: Path) -> None:
    assert broken(JOBS[name], tmp_path) == {}


class OfSeveral(Module):
    def loss(self, batch: Any) -> Any:
        return super().loss(batch[0] if isinstance(batch[0], list) else batch)


@pytest.mark.slow
@pytest.mark.parametrize("several", [False, True], ids=["one", "several, of which all is loaded again"])
def test_a_dataset_resumes_between_batches(several: bool, tmp_path: Path) -> None:
    def job() -> Job:
        train: Any = DataLoader(Remembers(), BATCH, shuffle=True)
        train = [train, DataLoader(Samples(), BATCH)] if several else train
        return Job(OfSeveral(), train=train, val=DataLoader(Remembers(), 2 * BATCH))

    wrong = {}
    whole = broken(job, tmp_path)
    wrong = {name: differs for name, differs in whole.items() if "next" not in name}
    assert wrong == {}
    began = next(path for path in tmp_path.iterdir() if "next" in path.name and "00" not in path.name)
    choice = fit(job, Watch(None), began).resume_choice
    dataset = f"train_dataloader{'[0]' if several else ''}.dataset"
    assert f"{dataset}.served was saved after a hook that comes again" in str(choice)


class Swaps(Module):
    """A function in place of another, from the second epoch on."""

    def __init__(self) -> None:
        super().__init__()
        self.scale: Any = torch.abs

    def on_train_epoch_start(self) -> None:
        if self.current_epoch:
            self.scale = lambda loss: 2 * loss


class Iterates(Module):
    def __init__(self) -> None:
        super().__init__()
        self.numbers = count()


class Grows(Module):
    """A list that gets too long."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[int] = []

    def on_train_epoch_start(self) -> None:
        self.values += range(20_000)


class Fills(Module):
    """Holds a mutable value that is not saved."""

    def __init__(self, values: Any) -> None:
        super().__init__()
        self.values = values

    def on_train_epoch_start(self) -> None:
        values = self.values[0] if isinstance(self.values, Pair) else self.values
        values.append(1) if hasattr(values, "append") else values.fill(1)


Pair = namedtuple("Pair", "one other")


def of_workers() -> Job:
    return Job(train=DataLoader(Remembers(), BATCH, num_workers=1))


class Opens(Samples):
    """Counts what it serves. Its file is opened with the first sample, and is no state."""

    def __init__(self) -> None:
        self.served, self.file = 0, None

    def __getitem__(self, index: Any) -> Any:
        self.file = self.file or str(index)
        self.served += 1
        return super().__getitem__(index)


def counting(dataset: Any) -> Job:
    return Job(train=DataLoader(dataset, BATCH, num_workers=1))


COUNTS = "which its workers change with each sample, is not saved"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Job(Iterates()), "model.numbers, an iterator (count), is not saved"),
        (
            of_workers,
            "train_dataloader.dataset.draws, a random generator that workers draw from, is not saved; "
            f"train_dataloader.dataset.served, {COUNTS}",
        ),
        (lambda: counting(Subset(Opens(), range(8))), f"train_dataloader.dataset.dataset.served, {COUNTS}"),
        (lambda: counting(ConcatDataset([Opens()])), f"train_dataloader.dataset.datasets[0].served, {COUNTS}"),
    ],
)
def test_what_nobody_can_read_is_named_at_the_start(make: Callable[[], Job], reason: str, tmp_path: Path) -> None:
    whole = Watch(tmp_path)
    for path in (None, 0):
        trainer = fit(make, Watch(None) if path is not None else whole, None if path is None else whole.cuts[path][0])
        assert str(trainer.resume_choice) == f"not exact ({reason})"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (Swaps, "model.scale (a function)"),
        (Grows, "model.values (too large a"),
        (lambda: Fills(bytearray()), "model.values (a bytearray)"),
        (lambda: Fills(array("d")), "model.values (a array)"),
        (lambda: Fills(Pair([], 0)), "model.values (a Pair)"),
        (lambda: Fills(np.array([None])), "model.values (a ndarray)"),
    ],
)
def test_what_cannot_be_saved_is_named_when_it_has_changed(
    module: Callable[[], Any], name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lighter")
    whole = Watch(tmp_path)
    trainer = fit(lambda: Job(module()), whole)
    said = [record.message for record in caplog.records if record.message.startswith("resume")]
    assert next(iter(said)) == "resume: exact"
    assert caplog.text.count(f"resume: not exact from now on: {name}") == 1
    assert trainer.resume_choice.name == "not exact"
    last = fit(lambda: Job(module()), Watch(None), whole.cuts[-1][0])
    assert last.resume_choice.name == "not exact"
    assert name.split(" ")[0] in last.resume_choice.reason


def test_a_value_that_the_user_has_changed_stays_his(tmp_path: Path) -> None:
    class Starts(Module):
        def __init__(self, beta: float) -> None:
            super().__init__()
            self.beta, self.steps = beta, 0

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            self.steps += 1
            if self.current_epoch == 1:
                self.beta = 0.5

    whole = Watch(tmp_path)
    fit(lambda: Job(Starts(0.1)), whole)
    path = next(path for path, _ in whole.cuts if path.name.startswith("15"))
    same, other = (fit(lambda beta=beta: Job(Starts(beta), trainer={"max_steps": 5}), Watch(None), path)
                   for beta in (0.1, 0.2))  # fmt: skip
    assert (same.lightning_module.beta, same.resume_choice.name) == (0.5, "exact")
    assert other.lightning_module.beta == 0.2
    assert "model.beta began with another value" in other.resume_choice.reason
    assert other.lightning_module.steps == same.lightning_module.steps > 0


class Config:
    def __init__(self) -> None:
        self.values, self.parent = {"width": 4, "act": nn.GELU}, self


class Ordinary(Module):
    """Keeps what modules keep: configs, functions, loggers, locks, metrics, compiled or not."""

    def __init__(self) -> None:
        super().__init__()
        self.config, self.function, self.tokens = Config(), lambda x: x, {n: str(n) for n in range(30_000)}
        self.accuracy = nn.ModuleDict({"of_train": BinaryAccuracy(), "of_val": BinaryAccuracy()})
        self.path, self.kind, self.register = Path("."), torch.float32, __import__("logging").getLogger("x")
        self.example_input_array = torch.zeros(2, 4)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.accuracy["of_train"](torch.rand(3), torch.ones(3, dtype=torch.int))
        return super().training_step(batch, batch_idx)


def test_ordinary_modules_are_exact(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lighter")
    whole = Watch(tmp_path)
    assert str(fit(lambda: Job(Ordinary()), whole).resume_choice) == "exact"
    assert str(fit(lambda: Job(Ordinary()), Watch(None), whole.cuts[9][0]).resume_choice) == "exact"
    assert "not exact" not in caplog.text


class OfItsProcess(pl.Callback):
    """Opens what it writes to when the fit starts, and counts from there."""

    opened: ClassVar[int] = 0

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        type(self).opened += 1
        self.folder, self.lines = f"folder-{self.opened}", 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.descriptor = self.opened

    def on_train_batch_end(self, *_: Any) -> None:
        self.lines += 1


def test_what_the_first_hooks_set_is_of_this_process(tmp_path: Path) -> None:
    fit(lambda: Job(trainer={"max_epochs": 2, "callbacks": [OfItsProcess()]}), watch := Watch(tmp_path))
    callback, (path, _) = OfItsProcess(), watch.cuts[-1]
    trainer = fit(lambda: Job(trainer={"callbacks": [callback]}), Watch(None), path)
    assert (callback.folder, callback.descriptor) == ("folder-2", 2)
    assert callback.lines == trainer.global_step, "changes since then are restored"
    assert str(trainer.resume_choice) == "exact"
