"""Metrics of other libraries than torchmetrics, on every rung of the ladder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

import lighter
from lighter.errors import ModuleTypeError, ModuleValueError
from lighter.parts.metrics.foreign import ForeignMetric, as_members, has_methods
from lighter.parts.metrics.state import unchanged
from tests.jobs import QUIET, Classifier, ForwardClassifier, loader, mlp
from tests.slow import mostly_slow
from tests.trainer.resume.cuts import not_as_whole


class Updates:
    """A metric with the methods of torchmetrics."""

    def __init__(self) -> None:
        self.right = self.count = 0

    def update(self, preds: Any, target: Any) -> None:
        self.right += int((preds.argmax(1) == target).sum())
        self.count += len(target)

    def compute(self) -> Any:
        return {"share": self.right / self.count, "count": self.count}

    def reset(self) -> None:
        self.right = self.count = 0


class Aggregates:
    """A metric with the methods of MONAI, which keeps what it was given."""

    def __init__(self) -> None:
        self.rows: list[torch.Tensor] = []

    def __call__(self, preds: Any, target: Any) -> Any:
        self.rows.append((preds.argmax(1) == target).float())
        return self.rows[-1]

    def aggregate(self) -> torch.Tensor:
        return torch.cat(self.rows).mean()

    def reset(self) -> None:
        self.rows = []


def given() -> dict[str, Any]:
    return {
        "accuracy": MulticlassAccuracy(10, average="micro"),
        "mine": Updates(),
        "dice": Aggregates(),
        "matrix": MulticlassConfusionMatrix(10),
    }


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1)


def system() -> pl.LightningModule:
    loaders = {"train": loader(0, 64), "val": loader(64, 128), "test": loader(64, 128)}
    return lighter.System(
        mlp(), loaders, sgd, criterion=nn.CrossEntropyLoss(), metrics={mode: given() for mode in loaders}
    )


def steps() -> pl.LightningModule:
    return Classifier(mlp(), nn.CrossEntropyLoss(), sgd, None, given(), given(), given())


def forward() -> pl.LightningModule:
    return ForwardClassifier(mlp(), optimizer=sgd, evaluator_cfg=given())


def trainer(folder: Path, **kwargs: Any) -> lighter.Trainer:
    return lighter.Trainer(
        default_root_dir=folder, **{**QUIET, "max_epochs": 2, "enable_checkpointing": True, **kwargs}
    )


@pytest.mark.parametrize("make", [system, steps, forward])
def test_every_rung_takes_them(make: Any, tmp_path: Path) -> None:
    run, module = trainer(tmp_path, log_every_n_steps=1), make()
    loaders = {} if make is system else {"train": loader(0, 64), "val": loader(64, 128)}
    run.fit(module, loaders.get("train"), loaders.get("val"))
    values = {name: float(value) for name, value in run.callback_metrics.items()}
    for mode in ("train", "val"):
        accuracy = values[f"{mode}/metrics/accuracy/epoch"]
        assert values[f"{mode}/metrics/share/epoch"] == pytest.approx(accuracy)
        assert values[f"{mode}/metrics/dice/epoch"] == pytest.approx(accuracy)
        assert values[f"{mode}/metrics/count/epoch"] == 64  # of one epoch, and without the sanity check's
    assert not [name for name in values if "dice/step" in name or "matrix" in name]
    saved = sorted(path.name for path in (tmp_path / "arrays").iterdir())
    assert saved == [f"{mode}-epoch{epoch}-step{2 * epoch + 2}.npz" for mode in ("train", "val") for epoch in (0, 1)]
    for name in saved:
        matrix = np.load(tmp_path / "arrays" / name)["matrix"]
        assert matrix.shape == (10, 10)
        assert matrix.sum() == 64
    [tested] = run.test(module, loaders.get("val"), verbose=False)
    assert tested["test/metrics/dice/epoch"] == pytest.approx(values["val/metrics/accuracy/epoch"])
    [again] = run.validate(module, loaders.get("val"), verbose=False)
    assert again["val/metrics/share/epoch"] == pytest.approx(values["val/metrics/accuracy/epoch"])


def test_a_metric_alone_and_in_a_list_is_called_as_its_class(tmp_path: Path) -> None:
    for metrics in (Aggregates(), [Aggregates(), MulticlassAccuracy(10)]):
        module = Classifier(mlp(), nn.CrossEntropyLoss(), val_metrics=metrics)
        [values] = trainer(tmp_path).validate(module, loader(0, 64), verbose=False)
        assert "val/metrics/Aggregates/epoch" in values
    with pytest.raises(ModuleValueError, match="several metrics of a list are called Aggregates"):
        as_members([Aggregates(), Aggregates()])
    with pytest.raises(ModuleTypeError, match="found a type"):
        Classifier(mlp(), val_metrics=Aggregates)


def test_modes_do_not_share_an_object() -> None:
    metric = Updates()
    module = Classifier(mlp(), train_metrics={"mine": metric}, val_metrics={"mine": metric})
    assert module.train_metrics["mine"].metric is metric
    assert module.val_metrics["mine"].metric is not metric


def test_keywords_are_those_of_its_own_update() -> None:
    metric = copy.deepcopy(ForeignMetric(Updates()))
    assert metric._filter_kwargs(preds=1, target=2, other=3) == {"preds": 1, "target": 2}
    assert has_methods(Updates)
    assert not has_methods(nn.ReLU())


@pytest.mark.parametrize("kind", [Updates, Aggregates])
def test_what_is_done_meanwhile_does_not_reach_the_object(kind: Any) -> None:
    preds, target = torch.eye(10)[:4], torch.arange(4)
    metric = ForeignMetric(kind())
    metric.update(preds, target)
    before = copy.deepcopy(vars(metric.metric))
    with unchanged([metric]):
        metric.update(preds, target)
        metric.reset()
    assert str(vars(metric.metric)) == str(before)
    assert metric.update_count == 1


class ForExact(lighter.LighterModule):
    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 2), optimizer=sgd, train_metrics={"mine": Updates(), "dice": Aggregates()})

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        pred = self(torch.stack([batch[0], batch[0] + 1]))
        self.train_metrics(pred, torch.tensor([0, 1]))
        return pred.square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return {"pred": self(torch.stack([batch[0], batch[0] + 1]))}


class PlainForExact(pl.LightningModule):
    """It holds such an object itself, and logs its value."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.dice = nn.Linear(2, 2), Aggregates()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        pred = self.network(torch.stack([batch[0], batch[0] + 1]))
        self.dice(pred.detach(), torch.tensor([0, 1]))
        return pred.square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing."""

    def on_train_epoch_end(self) -> None:
        self.log("dice", self.dice.aggregate())
        self.dice.reset()

    def configure_optimizers(self) -> Any:
        return sgd(self.parameters())


@pytest.mark.parametrize("make", mostly_slow([ForExact, PlainForExact]))
def test_an_epoch_goes_on_with_what_they_have_added_up(make: Any, own_place: Path) -> None:
    assert not not_as_whole(make, own_place, max_epochs=2)


class Unsaved(Aggregates):
    """Of a library, with something that no checkpoint holds."""

    def __call__(self, preds: Any, target: Any) -> Any:
        self.window = memoryview(bytes(len(getattr(self, "window", b"")) + 1))
        return super().__call__(preds, target)


def test_what_cannot_be_kept_is_named(
    own_place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lighter.trainer.resume.attributes.is_of_users", lambda holder: False)  # as if installed
    module = Classifier(mlp(), nn.CrossEntropyLoss(), sgd, train_metrics={"dice": Unsaved()})
    saves = pl.callbacks.ModelCheckpoint(own_place, every_n_train_steps=1)
    with caplog.at_level("INFO", logger="lighter"):
        trainer(own_place, callbacks=[saves], max_epochs=1).fit(module, loader(0, 64), loader(0, 64))
    assert "model.train_metrics.dice.metric.window (a memoryview)" in caplog.text
