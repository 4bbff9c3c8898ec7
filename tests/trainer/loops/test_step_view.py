"""A plain module within its step in `lighter.Trainer`: it finds what it would find in Lightning's."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

import lighter
from lighter.trainer.loops.step_view import UpdateOnCall
from tests.trainer.fits import shuffled

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning")


class Plain(LightningModule):
    """Keeps what a function finds in the third step, where nothing is logged for the first time."""

    def __init__(self, look: Any) -> None:
        super().__init__()
        self.net, self.accuracy = nn.Linear(4, 2), MulticlassAccuracy(2)
        self.metrics = torchmetrics.MetricCollection({"a": MulticlassAccuracy(2)})
        self.look, self.seen = look, []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        pred = self.net(x)
        self.accuracy(pred, y)
        self.log("accuracy", self.accuracy, on_step=True, on_epoch=True)
        if batch_idx == 2:
            self.seen.append(self.look(self, pred, y))
        return nn.functional.cross_entropy(pred, y % 2)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(module: LightningModule, folder: Path, **arguments: Any) -> lighter.Trainer:
    trainer = lighter.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=folder,
        enable_progress_bar=False, enable_model_summary=False, **arguments,
    )  # fmt: skip
    trainer.fit(module, shuffled())
    assert trainer.loop_choice is not None
    assert trainer.loop_choice.is_lean
    return trainer


def same_class(module: Plain, *_: Any) -> bool:
    return isinstance(module.accuracy, MulticlassAccuracy) and module.accuracy in {module.accuracy}


def same_names(module: Plain, *_: Any) -> bool:
    named = dict(module.named_modules())
    return {"accuracy", "metrics", "metrics.a"} <= named.keys() and named["accuracy"].num_classes == 2


def copied(module: Plain, *_: Any) -> bool:
    other = copy.deepcopy(module.accuracy)
    return type(other) is MulticlassAccuracy and bool(torch.equal(other.compute(), module.accuracy.compute()))


def pickled(module: Plain, *_: Any) -> bool:
    return type(pickle.loads(pickle.dumps(module.accuracy))) is MulticlassAccuracy


def arithmetic(module: Plain, pred: Tensor, y: Tensor) -> bool:
    doubled = module.accuracy + module.accuracy
    return isinstance(doubled, torchmetrics.metric.CompositionalMetric) and bool(-module.accuracy is not None)


def replaced(module: Plain, pred: Tensor, y: Tensor) -> bool:
    module.metrics = torchmetrics.MetricCollection({"a": MulticlassAccuracy(2)})
    module.metrics(pred, y)
    return type(module.metrics["a"]) is MulticlassAccuracy


def value_read(module: Plain, pred: Tensor, y: Tensor) -> bool:
    value = module.accuracy(pred, y)
    expected = MulticlassAccuracy(2)(pred, y)
    return float(value) == expected.item() and bool((value == expected).all()) and f"{value:.3f}" == f"{expected:.3f}"


def kept_value(module: Plain, pred: Tensor, y: Tensor) -> bool:
    expected = module.trainer.callback_metrics["accuracy"]
    return bool(torch.equal(expected, MulticlassAccuracy(2)(pred, y)))


@pytest.mark.parametrize(
    "look",
    [same_class, same_names, copied, pickled, arithmetic, replaced, value_read, kept_value],
    ids=lambda f: f.__name__,
)
def test_a_step_finds_its_metrics(look: Any, tmp_path: Path) -> None:
    module = Plain(look)
    fit(module, tmp_path)
    assert module.seen == [True]
    assert type(module.accuracy) is MulticlassAccuracy
    assert "log" not in vars(module)


def test_a_value_that_a_metric_refuses_names_its_batch(tmp_path: Path) -> None:
    class Wrong(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            x, y = batch
            return super().training_step((x, y + 2 if batch_idx == 4 else y), batch_idx)

    with pytest.raises(RuntimeError, match="is invalid for input of size") as caught:
        fit(Wrong(lambda *_: None), tmp_path)
    assert "this is of batch 4" in " ".join(caught.value.__notes__)


class Compiled(Plain):
    @torch.compile(backend="eager")
    def shared(self, x: Tensor, y: Tensor) -> Tensor:
        pred = self.net(x)
        self.log("value", self.accuracy(pred, y))
        self.log("accuracy", self.accuracy, on_step=True, on_epoch=True)
        return nn.functional.cross_entropy(pred, y)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.shared(*batch)


class OfOurs(lighter.LighterModule):
    @torch.compile(backend="eager")
    def shared(self, x: Tensor, y: Tensor) -> Tensor:
        pred = self.network(x)
        self.train_metrics(pred, y)
        return self.criterion(pred, y)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.shared(*batch)


@pytest.mark.slow
def test_a_compiled_method_of_a_step_uses_the_metrics(tmp_path: Path) -> None:
    plain = fit(Compiled(None), tmp_path / "plain").callback_metrics
    assert {"value", "accuracy_step", "accuracy_epoch"} <= plain.keys()
    network = nn.Linear(4, 2)
    module = OfOurs(
        network=network,
        criterion=nn.functional.cross_entropy,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        train_metrics=MulticlassAccuracy(2),
    )
    assert "train/metrics/MulticlassAccuracy/epoch" in fit(module, tmp_path / "ours").callback_metrics


def test_nothing_stays_after_a_step_that_fails(tmp_path: Path) -> None:
    def fail(module: Plain, *_: Any) -> None:
        assert type(module.accuracy) is UpdateOnCall
        raise ZeroDivisionError

    module = Plain(fail)
    with pytest.raises(ZeroDivisionError):
        fit(module, tmp_path)
    assert type(module.accuracy) is MulticlassAccuracy
    assert type(module.metrics["a"]) is MulticlassAccuracy
    assert "log" not in vars(module)


def test_a_module_that_overrides_log_is_left_alone(tmp_path: Path) -> None:
    class Logging(Plain):
        def log(self, name: str, *args: Any, **kwargs: Any) -> None:
            super().log(f"my/{name}", *args, **kwargs)

    module = Logging(lambda module, *_: type(module.accuracy))
    trainer = fit(module, tmp_path)
    assert module.seen == [MulticlassAccuracy]
    assert "my/accuracy" in trainer.callback_metrics


@pytest.mark.parametrize(
    ("value", "options", "words"),
    [
        (torch.ones(2), {}, "must have a single element"),
        ({"a": {"b": 1.0}}, {}, "cannot be logged"),
        ("text", {}, "cannot be logged"),
        (1.0, {"on_step": False}, "different arguments"),
        (1.0, {"reduce_fx": "median"}, "Only `self.log"),
    ],
)
def test_mistakes_are_told_in_lightnings_words(value: Any, options: Any, words: str, tmp_path: Path) -> None:
    class Wrong(Plain):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            good = batch_idx < 3
            self.log("x", 1.0 if good else value, on_epoch=True, **({} if good else options))
            return super().training_step(batch, batch_idx)

    with pytest.raises((MisconfigurationException, ValueError), match=words):
        fit(Wrong(lambda *_: None), tmp_path)
