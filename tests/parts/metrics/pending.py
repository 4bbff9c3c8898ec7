"""Metrics and batches for updates that wait, and a comparison with an update for each batch."""

from __future__ import annotations

from typing import Any

import torch
from torchmetrics import Metric, MetricCollection, classification

from lighter.parts.metrics.pending_updates import PendingUpdates

CLASSES, LABELS, SIZES = 5, 4, (8, 8, 3, 8, 8, 1, 8, 8, 8, 5)
SETTINGS: dict[str, dict[str, Any]] = {
    "FBetaScore": {"beta": 2.0},
    "PrecisionAtFixedRecall": {"min_recall": 0.5},
    "RecallAtFixedPrecision": {"min_precision": 0.5},
    "SensitivityAtSpecificity": {"min_specificity": 0.5},
    "SpecificityAtSensitivity": {"min_sensitivity": 0.5},
}
SUMS = [
    "Accuracy", "CohenKappa", "ConfusionMatrix", "ExactMatch", "F1Score", "FBetaScore", "HammingDistance",
    "JaccardIndex", "MatthewsCorrCoef", "NegativePredictiveValue", "Precision", "Recall", "Specificity", "StatScores",
]  # fmt: skip
CURVES = [
    "AUROC", "AveragePrecision", "LogAUC", "PrecisionAtFixedRecall", "PrecisionRecallCurve", "RecallAtFixedPrecision",
    "ROC", "SensitivityAtSpecificity", "SpecificityAtSensitivity",
]  # fmt: skip
TASKS = {"Binary": {}, "Multiclass": {"num_classes": CLASSES}, "Multilabel": {"num_labels": LABELS}}
FAMILIES = [
    (task, family)
    for task in TASKS
    for family in (*SUMS, *CURVES)
    if hasattr(classification, task + family)
]  # fmt: skip


def make(task: str, family: str, **settings: Any) -> Metric:
    settings = {
        **TASKS[task],
        **SETTINGS.get(family, {}),
        **({"thresholds": 9} if family in CURVES else {}),
        **settings,
    }
    return getattr(classification, task + family)(**settings)


def batches(task: str, form: str, sizes: tuple[int, ...] = SIZES, inner: tuple[int, ...] = ()) -> list[Any]:
    """Batches of predictions, as probabilities, logits, labels or logits of which some batches look like the first."""
    generator = torch.Generator().manual_seed(3)
    made = []
    for number, size in enumerate(sizes):
        shape = (size, LABELS) if task == "Multilabel" else (size,)
        classes = CLASSES if task == "Multiclass" else 2
        target = torch.randint(classes, (*shape, *inner), generator=generator)
        values = (size, CLASSES) if task == "Multiclass" else shape
        preds = torch.randn((*values, *inner), generator=generator) * 3
        if form == "labels":
            preds = torch.randint(classes, (*shape, *inner), generator=generator)
        elif form == "probabilities" or (form == "mixed" and number % 3 == 1):
            preds = preds.softmax(1) if task == "Multiclass" else preds.sigmoid()
        made.append((preds, target))
    return made


def same(metric: Metric | MetricCollection, expected: Metric | MetricCollection) -> None:
    """Compare all that there is of two metrics: counts, cached values and states, bit for bit."""
    ours, theirs = ([part for part in one.modules() if isinstance(part, Metric)] for one in (metric, expected))
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        assert type(mine) is type(other)
        assert (mine.update_count, mine.update_called, mine._computed) == (
            other.update_count,
            other.update_called,
            None,
        )
        assert vars(mine).keys() == vars(other).keys()
        for name, state in other.metric_state.items():
            here = mine.metric_state[name]
            assert (here.shape, here.dtype, here.is_inference()) == (state.shape, state.dtype, state.is_inference())
            assert torch.equal(here, state), name


def check(metric: Any, data: list[Any], *, keywords: bool = False) -> None:
    expected = metric.clone()
    pending = PendingUpdates(metric)
    for preds, target in data:
        expected.update(preds, target)
        pending.update((), {"preds": preds, "target": target}) if keywords else pending.update((preds, target), {})
        preds.zero_(), target.zero_()  # the user's own tensors, to be used again
    same(metric, expected)
