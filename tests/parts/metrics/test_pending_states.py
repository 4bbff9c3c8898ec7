"""Updates that wait leave the states that an update for each batch leaves, bit for bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MultilabelAUROC,
)
from torchmetrics.wrappers import ClasswiseWrapper, MinMaxMetric

from lighter._lightning.metrics import NamedMetrics
from lighter.parts.metrics.pending_updates import MAX_UPDATES
from tests.parts.metrics.pending import CLASSES, CURVES, FAMILIES, SIZES, TASKS, batches, check, make
from tests.slow import slow_but


@pytest.mark.parametrize("form", slow_but(["probabilities", "logits", "mixed", "labels"], "mixed"))
@pytest.mark.parametrize(("task", "family"), FAMILIES)
def test_states_are_the_same(task: str, family: str, form: str) -> None:
    if form == "labels" and (family in CURVES or family == "LogAUC"):
        pytest.skip("a curve takes no labels")
    for settings in ({}, {"ignore_index": 0}, {"ignore_index": -1}):
        inner = (2,) if family == "ExactMatch" and task == "Multiclass" else ()
        check(make(task, family, **settings), batches(task, form, inner=inner))


@pytest.mark.parametrize("form", ["probabilities", "logits", "mixed", "labels"])
@pytest.mark.parametrize("task", TASKS)
def test_states_are_the_same_with_more_dimensions(task: str, form: str) -> None:
    for family in ("Accuracy", "ConfusionMatrix", "F1Score", *(["AUROC"] if form != "labels" else [])):
        check(make(task, family), batches(task, form, inner=(3, 2)))


@pytest.mark.parametrize("average", ["micro", "macro", "weighted", "none"])
@pytest.mark.parametrize("task", ["Multiclass", "Multilabel"])
def test_states_are_the_same_for_each_average(task: str, average: str) -> None:
    for family in ("Accuracy", "F1Score", *([] if (task, average) == ("Multiclass", "weighted") else ["AUROC"])):
        if not (family == "AUROC" and average == "micro" and task == "Multiclass"):
            check(make(task, family, average=average), batches(task, "logits"))


@pytest.mark.parametrize(
    "metric",
    [
        MulticlassAccuracy(CLASSES, top_k=2),
        MulticlassAccuracy(CLASSES, validate_args=False),
        MulticlassAccuracy(CLASSES, dist_sync_on_step=True, sync_on_compute=False, compute_on_cpu=True),
        ClasswiseWrapper(MulticlassAccuracy(CLASSES, average=None), labels=[*"abcde"]),
        MinMaxMetric(MulticlassAccuracy(CLASSES)),
        MulticlassAccuracy(CLASSES) + MulticlassF1Score(CLASSES),
    ],
)
def test_states_are_the_same_with_settings_and_wrappers(metric: Any) -> None:
    check(metric, batches("Multiclass", "logits"))


@pytest.mark.parametrize("keywords", [False, True])
@pytest.mark.parametrize("groups", [True, False])
def test_states_of_a_collection_are_the_same(groups: bool, keywords: bool, updates: list[int]) -> None:
    members = {
        "accuracy": MulticlassAccuracy(CLASSES),
        "f1": MulticlassF1Score(CLASSES),
        "micro": MulticlassAccuracy(CLASSES, average="micro"),
        "matrix": MulticlassConfusionMatrix(CLASSES),
        "classes": ClasswiseWrapper(MulticlassF1Score(CLASSES, average=None)),
    }
    for kind in (MetricCollection, NamedMetrics):
        check(kind(copy.deepcopy(members), compute_groups=groups), batches("Multiclass", "logits"), keywords=keywords)
    waited = [samples for samples in updates if samples > max(SIZES)]
    assert waited == [sum(SIZES[1:])] * 2


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("task", TASKS)
def test_states_are_the_same_in_other_precisions(task: str, half: torch.dtype) -> None:
    for family in ("Accuracy", "F1Score", "AUROC"):
        check(make(task, family), [(preds.to(half), target) for preds, target in batches(task, "mixed")])


def test_the_last_bit_of_a_sigmoid_is_that_of_its_own_batch() -> None:
    """Small batches are too short for the vector instructions that larger ones are computed with."""
    logits = torch.randn(10_000, 7, generator=torch.Generator().manual_seed(0)) * 3
    alone, together = torch.stack([row.sigmoid() for row in logits]), logits.sigmoid()
    differing = (alone != together).any(1).nonzero()[:40, 0]
    if not len(differing):
        pytest.skip("on this machine, the two are the same")
    thresholds = torch.maximum(alone, together)[differing].flatten().sort().values
    target = torch.ones(7, dtype=torch.long)
    check(BinaryAUROC(thresholds=thresholds), [(row.clone(), target.clone()) for row in logits[differing]])
    metric = MultilabelAUROC(7, thresholds=thresholds)
    check(metric, [(row[None].clone(), target[None].clone()) for row in logits[differing]])


def test_what_cannot_be_merged_does_not_wait_again(updates: list[int]) -> None:
    """Accuracy takes logits as they are, a curve makes probabilities of them, and both may be in one collection."""
    metric = MetricCollection([MulticlassAccuracy(CLASSES), MulticlassAUROC(CLASSES, thresholds=9)])
    sizes = (8,) * (2 * MAX_UPDATES)
    check(metric, batches("Multiclass", "logits", sizes))
    assert updates == [8] * len(sizes) * 2
    updates.clear()
    check(metric, batches("Multiclass", "probabilities", sizes))
    assert max(updates) == 8 * MAX_UPDATES


@pytest.mark.parametrize("named", [False, True])
def test_a_metric_that_is_in_a_wrapper_too(named: bool) -> None:
    per_class = MulticlassAccuracy(CLASSES, average=None)
    members = {"a": ClasswiseWrapper(per_class), "b": per_class}
    collection = NamedMetrics(members, compute_groups=False) if named else MetricCollection(members)
    check(collection, batches("Multiclass", "logits"))
    assert collection["b"] is collection["a"].metric


def test_batches_without_numbers_are_the_same() -> None:
    check(BinaryAccuracy(), [(torch.zeros(4, 0), torch.zeros(4, 0, dtype=torch.long)) for _ in range(3)])


def test_predictions_with_nan_are_the_same() -> None:
    for task in TASKS:
        data = batches(task, "probabilities")
        data[4][0][0] = torch.nan
        check(make(task, "Accuracy"), data)


def strided(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    wide = torch.stack([batch[0]] * 2, -1)
    return wide[..., 0], batch[1]


@pytest.mark.parametrize("task", TASKS)
def test_parts_of_larger_tensors_are_the_same(task: str) -> None:
    for family in ("Accuracy", "AUROC"):
        check(make(task, family), [strided(batch) for batch in batches(task, "mixed")])
