"""Results of a classification: confusion matrix, values by class, curves, calibration.

The score of a sample is the log likelihood of its class; of predicted classes alone, 1 if right and 0 if not.
Curves are binned, as torchmetrics' with `thresholds`, whose metrics compute them. The thresholds are evenly spaced in
logits: those evenly spaced in probabilities tell nothing of a network that is sure of nearly everything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torchmetrics import Metric
from torchmetrics.classification import (
    MultilabelAUROC,
    MultilabelAveragePrecision,
    MultilabelPrecisionRecallCurve,
    MultilabelROC,
)

from lighter._lightning.metrics import set_update_count
from lighter.callbacks.evaluation.settings import ReportSettings
from lighter.callbacks.evaluation.tally import (
    Arrays,
    Scored,
    Tally,
    checked_count,
    either,
    finite_samples,
    known,
    number,
    numbers,
    ratio,
    single,
)
from lighter.errors import MisfitError
from lighter.parts.describe import describe

INDICES, BINARY, MULTICLASS, MULTILABEL = "indices", "binary", "multiclass", "multilabel"
MAX_CURVES, MAX_POINTS = 32, 200  # classes with curves; points of each
MAX_MATRIX = 100  # classes of a matrix that a page can show
_BINS, _WIDEST = 2048, 14.0  # of the curves: bins, and the largest logit
_CALIBRATION_BINS = 15  # as torchmetrics
_FIRST, _LAST = slice(None, -1), slice(1, None)


class ClassificationTally(Tally):
    """Count a classification with one class of several, of two, or any number of labels for each sample."""

    def __init__(self, settings: ReportSettings, pred: Tensor, target: Tensor) -> None:
        super().__init__()
        self.settings = settings
        self.kind = _kind(settings, pred, target)
        self.classes = self._count(pred)
        self.names = settings.names(self.classes)
        self._is_logits = settings.logits is True
        self._seen_outside: Tensor | None = None

    def update(self, pred: Tensor, target: Tensor) -> Scored:
        if self.kind == INDICES:
            return self._add_indices(pred.reshape(len(pred)), _indices(target))
        if self.kind == MULTICLASS:
            return self._add_multiclass(single(pred), target)
        return self._add_labels(single(pred), target)

    def _add_indices(self, pred: Tensor, target: Tensor) -> Scored:
        valid = self._in_range(pred) & self._in_range(target)
        pred, target = torch.where(valid, pred, 0).long(), torch.where(valid, target, 0).long()
        self.add("confusion", self.classes**2, target * self.classes + pred, valid)
        score = torch.where(valid, (pred == target).float(), torch.nan)
        return Scored({"score": score, "target": target, "prediction": pred})

    def _add_multiclass(self, pred: Tensor, target: Tensor) -> Scored:
        target = target.argmax(1) if target.ndim == pred.ndim and target.shape == pred.shape else _indices(target)
        valid = finite_samples(pred) & self._in_range(target)
        pred = torch.where(valid[:, None], pred, 0)
        target = torch.where(valid, target, 0).long()
        logs = self._log_probabilities(pred, valid)
        predicted, probabilities = logs.argmax(1), logs.exp()
        self.add("confusion", self.classes**2, target * self.classes + predicted, valid)
        self._add_to_curves(probabilities, F.one_hot(target, self.classes), valid[:, None])
        score = torch.where(valid, logs.gather(1, target[:, None])[:, 0], torch.nan)
        confidence = probabilities.gather(1, predicted[:, None])[:, 0]
        return Scored({"score": score, "target": target, "prediction": predicted, "confidence": confidence})

    def _add_labels(self, pred: Tensor, target: Tensor) -> Scored:
        """Add a batch of labels that are true or not, each on its own: (N, C)."""
        pred, target = pred.reshape(len(pred), -1), target.reshape(len(target), -1)
        valid = finite_samples(pred, target) & ((target == 0) | (target == 1)).all(1)
        pred, target = torch.where(valid[:, None], pred, 0), torch.where(valid[:, None], target, 0).long()
        log_true, log_false = self._log_of_labels(pred, valid)
        predicted = (log_true >= log_false).long()
        self._add_to_curves(log_true.exp(), target, valid[:, None])
        score = torch.where(valid, torch.where(target == 1, log_true, log_false).mean(1), torch.nan)
        values = {"score": score, "confidence": log_true.exp()[:, 0]}
        if self.kind == BINARY:
            self.add("confusion", 4, target[:, 0] * 2 + predicted[:, 0], valid)
            return Scored({**values, "target": target[:, 0], "prediction": predicted[:, 0]})
        label = torch.arange(self.classes, device=pred.device)
        self.add("labels", 4 * self.classes, label * 4 + target * 2 + predicted, valid[:, None].expand_as(target))
        return Scored({"score": score})

    def _log_probabilities(self, pred: Tensor, valid: Tensor) -> Tensor:
        if self.settings.logits is False:
            self.check_probabilities(pred)
        if self.settings.logits is not None:
            return pred.log_softmax(1) if self._is_logits else _log(pred)
        is_distribution = ((pred >= 0) & (pred <= 1)).all(1) & ((pred.sum(1) - 1).abs() < 1e-2)
        return either((is_distribution | ~valid).all(), lambda: _log(pred), lambda: pred.log_softmax(1))

    def _log_of_labels(self, pred: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logarithms of the probabilities that a label is true, and that it is not."""
        if self.settings.logits is False:
            self.check_probabilities(pred)
        if self.settings.logits is not None:
            return (F.logsigmoid(pred), F.logsigmoid(-pred)) if self._is_logits else (_log(pred), _log(1 - pred))
        # one batch of logits may look like probabilities by chance, so what was seen before counts too
        outside = (((pred < 0) | (pred > 1)).any(1) & valid).any()
        seen = self._seen_outside
        self._seen_outside = outside if seen is None else seen | outside
        is_true = either(self._seen_outside, lambda: F.logsigmoid(pred), lambda: _log(pred))
        return is_true, either(self._seen_outside, lambda: F.logsigmoid(-pred), lambda: _log(1 - pred))

    def _add_to_curves(self, probabilities: Tensor, target: Tensor, valid: Tensor) -> None:
        columns = probabilities.shape[1]
        if columns > MAX_CURVES:
            return
        logits = torch.logit(probabilities, eps=1e-7)
        bins = ((logits + _WIDEST) * (_BINS / (2 * _WIDEST))).clamp(0, _BINS - 1).long()
        column = torch.arange(columns, device=bins.device)
        self.add("curves", 2 * columns * _BINS, (target * columns + column) * _BINS + bins, valid.expand_as(bins))

    def result(self, samples: Arrays) -> dict[str, Any]:
        # labels of several are tables of two by two, each
        tables = self._tables()
        result: dict[str, Any] = {"task": "classification", "classes": self.names}
        overall = {"log_loss": -samples["score"].mean()} if self.kind != INDICES and len(samples["score"]) else {}
        by_class, of_classes = _per_class(tables)
        if self.kind != MULTILABEL:
            matrix = self.counts("confusion", self.classes, self.classes).numpy()
            of_classes["accuracy"] = ratio(np.trace(matrix), matrix.sum())
            if self.classes <= MAX_MATRIX:
                result["confusion"] = matrix.tolist()
        curves, areas = self._curves()
        calibration = self._calibration(samples)
        ece = {"ece": calibration["calibration"]["ece"]} if calibration else {}
        metrics = known({**of_classes, **areas, **overall, **ece})
        return {**result, "metrics": metrics, "per_class": by_class, **curves, **calibration}

    def _tables(self) -> np.ndarray:
        """Return true positives, false positives and false negatives of each class: (3, C)."""
        if self.kind == MULTILABEL:
            tables = self.counts("labels", self.classes, 2, 2).numpy()
            return np.stack([tables[:, 1, 1], tables[:, 0, 1], tables[:, 1, 0]])
        matrix = self.counts("confusion", self.classes, self.classes).numpy()
        right = matrix.diagonal()
        return np.stack([right, matrix.sum(0) - right, matrix.sum(1) - right])

    def _curves(self) -> tuple[dict[str, Any], dict[str, float]]:
        columns = 1 if self.kind == BINARY else self.classes
        if self.kind == INDICES or columns > MAX_CURVES:
            return {}, {}
        counts = self.counts("curves", 2, columns, _BINS)
        names = self.names[1:] if self.kind == BINARY else self.names
        # without samples in it or outside of it, a class has no curve
        shown = [number for number in range(columns) if counts[:, number].sum(1).all()]
        if not shown:
            return {}, {}
        return _drawn(counts[:, shown], [names[number] for number in shown])

    def _calibration(self, samples: Arrays) -> dict[str, Any]:
        if "confidence" not in samples or not len(samples["confidence"]):
            return {}
        is_right = samples["target"] == (1 if self.kind == BINARY else samples["prediction"])
        return {"calibration": calibration(samples["confidence"], is_right)}

    def _in_range(self, target: Tensor) -> Tensor:
        return (target >= 0) & (target < self.classes)

    def _count(self, pred: Tensor) -> int:
        counts = {MULTICLASS: pred.shape[-1], MULTILABEL: pred.shape[-1], BINARY: 2}
        return checked_count(self.settings, counts.get(self.kind), pred)


def calibration(confidence: np.ndarray, is_right: np.ndarray) -> dict[str, Any]:
    """Return the mean confidence, the share that is right and the number in bins of confidence, and their distance.

    The expected calibration error is that of Naeini et al. (2015), as torchmetrics' `CalibrationError` computes it.
    """
    edges = np.linspace(0, 1, _CALIBRATION_BINS + 1)
    # right edges belong to the bin
    which = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, _CALIBRATION_BINS - 1)
    count = np.bincount(which, minlength=_CALIBRATION_BINS)
    used = count > 0
    mean, right = (
        np.bincount(which, weights.astype(np.float64), _CALIBRATION_BINS)[used] / count[used]
        for weights in (confidence, is_right)
    )
    ece = float((np.abs(mean - right) * count[used]).sum() / count.sum())
    bins = {"confidence": numbers(mean), "accuracy": numbers(right), "count": [int(each) for each in count[used]]}
    return {**bins, "ece": number(ece)}


def _kind(settings: ReportSettings, pred: Tensor, target: Tensor) -> str:
    is_flat = pred.ndim == 1 or (pred.ndim == 2 and pred.shape[1] == 1)
    if pred.ndim > 2:
        message = f"a classification has one prediction for each sample; predictions are {describe(pred)}"
        raise MisfitError(f"{message}. For pixels: `task: segmentation`", "report::task")
    if is_flat:
        return BINARY if pred.is_floating_point() else INDICES
    has_labels = target.shape == pred.shape
    if not has_labels and target.numel() != len(target):
        message = f"predictions are {describe(pred)}, and targets {describe(target)}: a class for each sample is needed"
        raise MisfitError(message, "report")
    return MULTILABEL if has_labels and settings.multilabel is not False else MULTICLASS


def _indices(target: Tensor) -> Tensor:
    return target.reshape(len(target))


def _log(probability: Tensor) -> Tensor:
    return probability.clamp(1e-12, 1).log()


def _per_class(tables: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of each class, and their means over the classes that have one."""
    right, wrong, missed = tables
    values = {
        "precision": ratio(right, right + wrong),
        "recall": ratio(right, right + missed),
        "f1": ratio(2 * right, 2 * right + wrong + missed),
    }
    support = right + missed
    seen = support > 0
    means = {"f1": values["f1"][seen].mean(), "balanced_accuracy": values["recall"][seen].mean()} if seen.any() else {}
    return {**{name: numbers(each) for name, each in values.items()}, "support": support.tolist()}, means


def _drawn(counts: Tensor, names: list[str]) -> tuple[dict[str, Any], dict[str, float]]:
    """Return curves and areas from counts of (not in the class or in it, class, bin)."""
    # at a threshold, what is in its bin or above counts as predicted
    above = counts.flip(-1).cumsum(-1).flip(-1)
    total = counts.sum(-1, keepdim=True)
    states = torch.stack([total - above, above], -1).permute(2, 1, 0, 3)  # threshold, class, target, prediction
    thresholds = torch.linspace(-_WIDEST, _WIDEST, _BINS + 1)[:-1].sigmoid()
    size = len(names)
    # of all processes already: torchmetrics would wait for the others
    options: dict[str, Any] = {"thresholds": thresholds, "validate_args": False, "sync_on_compute": False}
    false_rate, true_rate, _ = _computed(MultilabelROC(size, **options), states)
    precision, recall, _ = _computed(MultilabelPrecisionRecallCurve(size, **options), states)
    area, average = (
        _computed(kind(size, average="none", **options), states).reshape(-1)
        for kind in (MultilabelAUROC, MultilabelAveragePrecision)
    )
    roc = [
        {"class": name, **_thinned(fpr=false_rate[index], tpr=true_rate[index]), "auc": number(area[index])}
        for index, name in enumerate(names)
    ]
    curves = [
        {"class": name, **_thinned(recall=recall[index], precision=precision[index]), "ap": number(average[index])}
        for index, name in enumerate(names)
    ]
    areas = {"auroc": float(area.mean()), "average_precision": float(average.mean())}
    return {"roc": roc, "precision_recall": curves}, areas


def _computed(metric: Metric, states: Tensor) -> Any:
    # summed by us: torchmetrics compares each sample with each threshold
    metric.confmat = states
    set_update_count(metric, 1)
    return metric.compute()


def _thinned(**curve: Tensor) -> dict[str, list[float | None]]:
    """Return the points of a curve where it turns, at most `MAX_POINTS` of them."""
    points = torch.stack(list(curve.values())).double()
    # no precision is defined above the highest score
    points = points[:, ~points.isnan().any(0)]
    moved = torch.ones(points.shape[1], dtype=torch.bool)
    moved[1:] = (points.diff(dim=1) != 0).any(0)
    kept = moved.nonzero()[:, 0]
    (x_before, y_before), (x_after, y_after) = (points[:, kept].diff(dim=1)[:, part] for part in (_FIRST, _LAST))
    bend = x_before * y_after - y_before * x_after
    goes_on = (bend.abs() < 1e-12) & (x_before * x_after + y_before * y_after > 0)
    kept = torch.cat([kept[:1], kept[1:-1][~goes_on], kept[-1:]]) if len(kept) > 2 else kept
    if len(kept) > MAX_POINTS:
        kept = kept[torch.linspace(0, len(kept) - 1, MAX_POINTS).round().long()]
    return {name: numbers(points[row, kept]) for row, name in enumerate(curve)}
