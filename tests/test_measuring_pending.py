"""Fits in which updates of metrics wait: everybody reads what an update for each batch gives, and errors say where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics import MetricCollection
from torchmetrics.classification import stat_scores

import lighter
from tests.jobs import QUIET, Classifier, ForwardClassifier, digits, loader, metrics, mlp
from tests.slow import slow_but

BATCHES = 12
RUNGS = ["steps", "forward", "system"]


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01)


class Loss(nn.CrossEntropyLoss):
    """Takes the class that is none, for the metrics to refuse it."""

    def forward(self, pred, target):
        return super().forward(pred, target.clamp(max=9))


class Forward(ForwardClassifier):
    def forward(self, batch):
        x, y = batch
        pred = self.model(x)
        return {"loss_dict": {"ce_loss": Loss()(pred, y)}, "metric_dict": {"preds": pred, "target": y, "x": x}}


class Narrow(Forward):
    """Gives a single metric no more than it takes."""

    def forward(self, batch):
        output = super().forward(batch)
        del output["metric_dict"]["x"]
        return output


def module(rung: str, kind: type[lighter.LighterModule] = Classifier, measures: Any = None) -> lighter.BaseModule:
    pl.seed_everything(5, verbose=False)
    both = {mode: metrics() if measures is None else measures.clone() for mode in ("train", "val")}
    if rung == "forward":
        return (Forward if measures is None else Narrow)(model=mlp(), optimizer=adam, evaluator_cfg=both["train"])
    if rung == "system":
        return lighter.System(model=mlp(), criterion=Loss(), optimizer=adam, metrics=both)
    return kind(mlp(), Loss(), optimizer=adam, train_metrics=both["train"], val_metrics=both["val"])


def metrics_of(pl_module: Any) -> MetricCollection:
    return pl_module.train_metrics or next(iter(pl_module.evaluators.children()))


def fit(of: pl.LightningModule, kind: Any = lighter.Trainer, data: Any = None, **arguments: Any) -> pl.Trainer:
    runs = kind(**{**QUIET, "max_epochs": 1, **arguments})
    pl.seed_everything(6, verbose=False)
    train = DataLoader(data or digits(0, 32 * BATCHES - 5), batch_size=32)
    runs.fit(of, train, loader(384, 440))
    return runs


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The samples of each update of a collection."""
    counted: list[int] = []
    update = MetricCollection.update

    def count(self: MetricCollection, *args: Any, **kwargs: Any) -> None:
        counted.append(len([*args, *kwargs.values()][0]))
        update(self, *args, **kwargs)

    monkeypatch.setattr(MetricCollection, "update", count)
    return counted


@pytest.mark.parametrize("kind", [pl.Trainer, lighter.Trainer])
@pytest.mark.parametrize("rung", RUNGS)
def test_few_updates_measure_an_epoch(rung: str, kind: Any, updates: list[int]) -> None:
    fit(module(rung), kind, limit_val_batches=0)
    assert sum(updates) == 32 * BATCHES - 5
    assert len(updates) == 2


@pytest.mark.parametrize("rung", RUNGS)
def test_few_updates_measure_an_epoch_with_a_single_metric(rung: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    add_up = stat_scores._multiclass_stat_scores_update

    def count(preds: torch.Tensor, *args: Any) -> Any:
        counted.append(len(preds))
        return add_up(preds, *args)

    monkeypatch.setattr(stat_scores, "_multiclass_stat_scores_update", count)
    fit(module(rung, measures=metrics()["f1"]), limit_val_batches=0)
    assert sum(counted) == 32 * BATCHES - 5
    assert len(counted) == 2


class Reads(pl.Callback):
    """Reads the metrics at every step, and updates others with the same predictions."""

    def __init__(self, every: int) -> None:
        self.every, self.own, self.seen = every, metrics(), 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.own.update(pl_module.last, batch[1])
        if batch_idx % self.every == 0:
            kept = metrics_of(pl_module)
            assert kept["f1"].update_count == batch_idx + 1
            for mine, theirs in zip(kept.values(), self.own.values(), strict=True):
                assert all(torch.equal(state, theirs.metric_state[name]) for name, state in mine.metric_state.items())
            self.seen += 1


def remember(pl_module: Any) -> None:
    network = getattr(pl_module, "network", None) or pl_module.model

    def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        pl_module.last = output.detach().clone()

    network.register_forward_hook(keep)


@pytest.mark.parametrize("every", slow_but([1, 3, 5], 3))
@pytest.mark.parametrize("rung", RUNGS)
def test_a_callback_that_reads_the_metrics_finds_all_batches(rung: str, every: int) -> None:
    of, reads = module(rung), Reads(every)
    remember(of)
    fit(of, callbacks=[reads])
    assert reads.seen == -(-BATCHES // every)


@pytest.mark.parametrize("rung", RUNGS)
def test_epoch_values_do_not_depend_on_who_reads(rung: str) -> None:
    values = []
    for callbacks in ([], [Reads(1)], [Reads(4)]):
        of = module(rung)
        remember(of)
        values.append({name: float(value) for name, value in fit(of, callbacks=callbacks).callback_metrics.items()})
    assert values[0] == values[1] == values[2]
    assert any("f1" in name for name in values[0])


def test_a_step_reads_what_it_has_just_updated() -> None:
    counts = []

    class Reading(Classifier):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if batch_idx % 4 == 3:
                counts.append(int(self.train_metrics["f1"].tp.sum() + self.train_metrics["f1"].fn.sum()))
            return loss

    fit(module("steps", Reading))
    assert counts == [4 * 32, 8 * 32, 12 * 32 - 5]


def test_the_other_spelling_waits_too(updates: list[int]) -> None:
    class Updating(Classifier):
        def training_step(self, batch, batch_idx):
            pred = self(batch[0])
            self.train_metrics.update(pred, batch[1])
            batch[1].zero_(), pred.detach().zero_()  # what is the user's own may change
            return pred.square().mean()

    runs = fit(module("steps", Updating), limit_val_batches=0)
    assert len(updates) == 2
    assert float(runs.callback_metrics["train/metrics/accuracy/epoch"]) < 1


class WithBadClass(Dataset):
    """Digits with a class that is none, in one batch."""

    def __init__(self, bad: int) -> None:
        self.data, self.bad = digits(0, 32 * BATCHES), bad

    def __len__(self) -> int:
        return 32 * BATCHES

    def __getitem__(self, index: int) -> Any:
        x, y = self.data[index]
        return x, torch.tensor(11) if index == 32 * self.bad + 3 else y


@pytest.mark.parametrize("kind", [pl.Trainer, lighter.Trainer])
@pytest.mark.parametrize("bad", slow_but([0, 1, 5, 11], 5))
@pytest.mark.parametrize("rung", RUNGS)
def test_a_bad_class_names_its_batch_before_anything_is_saved(rung: str, bad: int, kind: Any, tmp_path: Path) -> None:
    saves = ModelCheckpoint(tmp_path, every_n_train_steps=4, save_top_k=-1)
    with pytest.raises(RuntimeError, match="invalid for input of size") as caught:
        fit(module(rung), kind, data=WithBadClass(bad), enable_checkpointing=True, callbacks=[saves])
    notes = "\n".join(getattr(caught.value, "__notes__", []))
    assert (f"of batch {bad};" in notes) is (bad > 0)  # the first is measured at once
    saved = sorted(int(path.stem.rpartition("step=")[2]) for path in tmp_path.glob("epoch*.ckpt"))
    assert saved == [step for step in (4, 8) if step <= bad]


@pytest.mark.parametrize("rung", RUNGS)
def test_an_epoch_that_is_cut_has_its_values(rung: str) -> None:
    runs = fit(module(rung), max_steps=7, max_epochs=-1)
    [accuracy] = [float(value) for name, value in runs.callback_metrics.items() if name == "train/metrics/f1/epoch"]
    short = fit(module(rung), limit_train_batches=7)
    assert accuracy == float(short.callback_metrics["train/metrics/f1/epoch"])


@pytest.mark.parametrize("rung", RUNGS)
def test_validation_within_an_epoch_leaves_the_states(rung: str, updates: list[int]) -> None:
    whole = fit(module(rung), limit_val_batches=0).callback_metrics
    updates.clear()
    several = fit(module(rung), val_check_interval=5).callback_metrics
    assert max(updates) > 32
    for name, value in whole.items():
        if name.startswith("train"):
            assert torch.equal(value, several[name]), name
