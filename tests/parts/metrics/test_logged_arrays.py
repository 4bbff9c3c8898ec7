"""Metrics given to `self.log` that compute no numbers: kept in files by our trainer, refused by Lightning's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassF1Score, MulticlassROC

import lighter
from tests.callbacks.evaluation.jobs import CLASSES, Plain, loader, trainer


class Dicts(Metric):
    def __init__(self) -> None:
        super().__init__()
        self.add_state("count", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, pred: Any, target: Any) -> None:
        self.count += len(target)

    def compute(self) -> Any:
        return {"count": self.count, "twice": self.count.expand(2, 2)}


class Ragged(Dicts):
    def compute(self) -> Any:
        return [self.count.expand(3), self.count.expand(5)]


KINDS: dict[str, tuple[Any, dict[str, tuple[int, ...]], list[str]]] = {
    "matrix": (lambda: MulticlassConfusionMatrix(CLASSES), {"m": (4, 4)}, []),
    "vector": (lambda: MulticlassF1Score(CLASSES, average=None), {}, ["m_0", "m_1", "m_2", "m_3"]),
    "curve": (lambda: MulticlassROC(CLASSES, thresholds=5), {"m_0": (4, 5), "m_1": (4, 5), "m_2": (5,)}, []),
    "dict": (Dicts, {"m_twice": (2, 2)}, ["m_count"]),
    "ragged": (Ragged, {"m_0": (3,), "m_1": (5,)}, []),
}


class Logging(Plain):
    def __init__(self, metric: Metric, name: str = "m", **options: Any) -> None:
        super().__init__()
        self.metric, self.name, self.options = metric, name, options

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        logits = self.network(batch[0])
        self.metric(logits, batch[1])
        self.log(self.name, self.metric, **self.options)
        self.log("sum", logits.sum())


@pytest.mark.parametrize("name", KINDS)
def test_arrays_are_kept_and_numbers_logged(name: str) -> None:
    make, arrays, numbers = KINDS[name]
    run = trainer(logger=True)
    run.fit(Logging(make()), loader(), loader())
    assert run.loop_choice.is_lean
    found = {}
    for path in Path("arrays").glob("*") if Path("arrays").exists() else ():
        assert path.name == "val-epoch0-step7.npz"
        with np.load(path) as kept:
            found = {key: kept[key].shape for key in kept}
    assert found == arrays
    written = next(iter(Path().rglob("metrics.csv"))).read_text().splitlines()[0].split(",")
    assert set(written) - {"epoch", "step", "sum"} == set(numbers)


@pytest.mark.parametrize("name", KINDS)
def test_a_validation_returns_the_numbers(name: str) -> None:
    (returned,) = trainer(logger=True).validate(Logging(KINDS[name][0]()), loader())
    assert set(returned) == {"sum"}
    assert Path("arrays/val-epoch0-step0.npz").exists() == bool(KINDS[name][1])


@pytest.mark.parametrize("name", KINDS)
def test_lightnings_trainer_refuses_them(name: str) -> None:
    with pytest.raises(ValueError):
        trainer(kind=pl.Trainer, logger=True).fit(Logging(KINDS[name][0]()), loader(), loader())


def test_callbacks_see_a_matrix_as_in_lightning_without_a_logger() -> None:
    seen = {}
    for kind in (pl.Trainer, lighter.Trainer):
        run = trainer(kind=kind)
        run.fit(Logging(MulticlassConfusionMatrix(CLASSES)), loader(), loader())
        seen[kind] = run.callback_metrics["m"], run.logged_metrics["m"]
    for ours, lightnings in zip(seen[lighter.Trainer], seen[pl.Trainer], strict=True):
        assert torch.equal(ours, lightnings)


def test_those_of_a_training_epoch() -> None:
    class Training(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.metric = MulticlassROC(CLASSES, thresholds=5)

        def training_step(self, batch, batch_idx):
            logits = self.network(batch[0])
            self.metric(logits, batch[1])
            self.log("m", self.metric, on_step=True, on_epoch=True)
            return torch.nn.functional.cross_entropy(logits, batch[1])

    trainer(logger=True, log_every_n_steps=1, max_epochs=2).fit(Training(), loader(), loader())
    assert sorted(path.name for path in Path("arrays").iterdir()) == [
        "train-epoch0-step7.npz",
        "train-epoch1-step14.npz",
    ]
    with np.load("arrays/train-epoch0-step7.npz") as kept:
        assert set(kept) == {"m_epoch_0", "m_epoch_1", "m_epoch_2"}


def test_several_dataloaders_have_names_of_their_own() -> None:
    run = trainer(logger=True)
    run.validate(Logging(MulticlassConfusionMatrix(CLASSES)), [loader(), loader(20)], verbose=False)
    # as in Lightning, one object for two dataloaders goes on adding up
    with np.load("arrays/val-epoch0-step0.npz") as kept:
        assert {key: int(kept[key].sum()) for key in kept} == {"m/dataloader_idx_0": 50, "m/dataloader_idx_1": 70}


def test_what_is_no_array_either_is_refused() -> None:
    class Text(Dicts):
        def compute(self) -> Any:
            return ["no", "numbers"]

    with pytest.raises(lighter.errors.MisfitError, match="the metric `m_0` gives a str"):
        trainer(logger=True).validate(Logging(Text()), loader(), verbose=False)
