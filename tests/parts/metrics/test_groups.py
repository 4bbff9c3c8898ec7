"""Metrics of a collection have their own numbers under their own names."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MeanSquaredError, Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassAveragePrecision,
    MulticlassF1Score,
    MulticlassPrecision,
)
from torchmetrics.wrappers import BootStrapper, ClasswiseWrapper, MinMaxMetric

import lighter
from lighter.errors import MisfitError
from lighter.parts.metrics.groups import prepare_metrics
from tests.jobs import QUIET, Classifier, loader, mlp


class Above(Metric):
    """How many values are above a threshold; a user's own."""

    full_state_update = False

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, values: Tensor, target: Tensor) -> None:
        self.count += (values > self.threshold).sum()

    def compute(self) -> Tensor:
        return self.count


def later(metrics: Any) -> dict[str, float]:
    """The values after a first batch in which all is alike, and one in which nothing is."""
    for values in (torch.zeros(4), torch.tensor([0.1, 0.3, 0.5, 0.7])):
        metrics.update(values, torch.ones(4, dtype=torch.int))
    return {name: float(value) for name, value in metrics.compute().items()}


@pytest.mark.parametrize("make", [dict, MetricCollection])
@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (lambda: {"low": Above(0.2), "high": Above(0.6)}, {"low": 3, "high": 1}),
        (lambda: {"low": BinaryAccuracy(0.2), "high": BinaryAccuracy(0.6)}, {"low": 3 / 8, "high": 1 / 8}),
        (lambda: {"mse": MeanSquaredError(), "rmse": MeanSquaredError(squared=False)}, None),
    ],
)
def test_metrics_that_differ_in_a_setting_have_their_own_numbers(members: Any, expected: Any, make: Any) -> None:
    alone = {name: later(MetricCollection({name: metric}))[name] for name, metric in members().items()}
    together = later(prepare_metrics(make(members()), "val_metrics"))
    assert together == pytest.approx(expected or alone) == alone


def test_what_adds_up_the_same_shares_an_update() -> None:
    members = {"acc": MulticlassAccuracy(4), "f1": MulticlassF1Score(4), "precision": MulticlassPrecision(4)}
    curves = {"auroc": MulticlassAUROC(4), "ap": MulticlassAveragePrecision(4)}
    collection = prepare_metrics({**members, **curves, "top": MulticlassAccuracy(4, top_k=2)}, "val_metrics")
    assert isinstance(collection, MetricCollection)
    groups = {frozenset(group) for group in collection.compute_groups.values()}
    assert groups == {frozenset(members), frozenset(curves), frozenset(["top"])}


def test_groups_that_the_user_chose_stay() -> None:
    chosen = [["low", "high"]]
    given = MetricCollection({"low": Above(0.2), "high": Above(0.6)}, compute_groups=chosen)  # type: ignore[arg-type]
    assert prepare_metrics(given, "val_metrics").compute_groups == {0: ["low", "high"]}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("wrap", "names"), [(BootStrapper, {"acc_mean", "acc_std"}), (MinMaxMetric, {"acc_raw", "acc_min", "acc_max"})]
)
def test_the_values_of_a_wrapper_have_its_key(wrap: Any, names: set[str]) -> None:
    collection: Any = prepare_metrics({"acc": wrap(MulticlassAccuracy(3)), "f1": MulticlassF1Score(3)}, "val_metrics")
    batch = torch.eye(3), torch.arange(3)
    assert set(collection(*batch)) == set(collection.compute()) == {*names, "f1"}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["cat", "dog"], r"of MulticlassAccuracy has 2 labels, and there are 10 classes"),
        ([*"abcdefghij", "k"], r"has 11 labels, and there are 10 classes"),
        (list("abcdefghii"), r"labels that come again: i"),
    ],
)
@pytest.mark.parametrize("in_dict", [False, True])
def test_each_class_needs_a_label(labels: list[str], message: str, in_dict: bool) -> None:
    metric = ClasswiseWrapper(MulticlassAccuracy(10, average=None), labels=labels)
    module = Classifier(mlp(), nn.CrossEntropyLoss(), val_metrics={"each": metric} if in_dict else metric)
    trainer = lighter.Trainer(**QUIET)
    with pytest.raises(MisfitError, match=message):
        trainer.validate(module, loader(0, 64), verbose=False)
