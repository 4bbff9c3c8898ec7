"""Results of a segmentation: Dice and IoU of each class, and of each sample. The score of a sample is its Dice."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lighter.callbacks.evaluation.settings import ReportSettings
from lighter.callbacks.evaluation.tally import (
    Arrays,
    Scored,
    Tally,
    checked_count,
    finite_samples,
    known,
    numbers,
    ratio,
    single,
)
from lighter.errors import MisfitError
from lighter.parts.describe import describe

BINARY, CHANNELS, LABELS, MULTILABEL = "binary", "channels", "labels", "multilabel"
MAX_MATRIX = 100  # classes of a matrix that a page can show
_FORMS = """Predictions of a segmentation, and their targets, are one of
  (N, C, ...) logits or probabilities, and classes (N, ...)
  (N, 1, ...) or (N, ...) logits or probabilities of the foreground, and masks of 0 and 1
  (N, ...) classes, with `classes` in `report`, and classes (N, ...)
  (N, C, ...), both, with `multilabel: true`: a mask for each class"""


class SegmentationTally(Tally):
    """Count the pixels of a segmentation.

    Pixels whose target is no class (255, say) are left out. A class that neither target nor prediction of a sample has
    says nothing about it. The background, class 0, is counted, and is not in the means.
    """

    def __init__(self, settings: ReportSettings, pred: Tensor, target: Tensor) -> None:
        super().__init__()
        self.settings = settings
        self.kind = _kind(settings, pred, target)
        self.classes = self._count(pred)
        self.names = settings.names(self.classes)
        self.first = 0 if self.kind == MULTILABEL or self.classes == 1 else 1  # of the classes that are in means
        self._seen_outside: Tensor | None = None

    def update(self, pred: Tensor, target: Tensor) -> Scored:
        pred = single(pred)
        is_finite = finite_samples(pred)
        if self.kind == MULTILABEL:
            right, wrong, missed, maps = self._of_masks(pred, target)
        else:
            right, wrong, missed, maps = self._of_classes(pred, target, is_finite)
        union = right + wrong + missed
        is_there = union > 0
        dice = torch.where(is_there, 2 * right / (union + right).clamp_min(1), 0.0)
        iou = torch.where(is_there, right / union.clamp_min(1), 0.0)
        # in fixed point, as sums of integers are the same in any order, on every device
        for name, values in (("dice", dice), ("iou", iou)):
            self._sum(f"{name}_of_samples", torch.where(is_finite[:, None], (values * 2**24).long(), 0).sum(0))
        self._sum("samples", (is_there & is_finite[:, None]).long().sum(0))
        score = {name: self._mean(values, is_there, is_finite) for name, values in (("score", dice), ("iou", iou))}
        return Scored(score, maps)

    def _mean(self, values: Tensor, is_there: Tensor, is_finite: Tensor) -> Tensor:
        values, is_there = values[:, self.first :], is_there[:, self.first :]
        count = is_there.sum(1)
        # nothing to find, and nothing found
        mean = torch.where(count > 0, values.sum(1) / count.clamp_min(1), 1.0)
        return torch.where(is_finite, mean, torch.nan)

    def _of_masks(self, pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
        found, there = self._is_foreground(pred), target > 0
        flat = [each.reshape(*pred.shape[:2], -1) for each in (found, there)]
        right, wrong, missed = (each.sum(2) for each in (flat[0] & flat[1], flat[0] & ~flat[1], ~flat[0] & flat[1]))
        for name, counts in (("right", right), ("wrong", wrong), ("missed", missed)):
            self._sum(name, counts.sum(0))
        # of several classes of a pixel, a picture shows the last
        number = torch.arange(1, self.classes + 1, device=pred.device).reshape(1, -1, *[1] * (pred.ndim - 2))
        return right, wrong, missed, ((there * number).amax(1), (found * number).amax(1))

    def _of_classes(
        self, pred: Tensor, target: Tensor, is_finite: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
        predicted, target = self._predicted(pred), self._as_classes(pred, target)
        if predicted.shape != target.shape:
            message = f"predictions are {describe(pred)}, and targets {describe(target)}. {_FORMS}"
            raise MisfitError(message, "report")
        size = len(predicted)
        valid = (target >= 0) & (target < self.classes) & is_finite.reshape(-1, *[1] * (target.ndim - 1))
        valid = valid & (predicted >= 0) & (predicted < self.classes)
        sample = torch.arange(size, device=target.device).reshape(-1, *[1] * (target.ndim - 1))
        cells = size * self.classes**2
        index = (sample * self.classes + target) * self.classes + predicted
        index = torch.where(valid, index, cells).reshape(-1)
        counts = torch.zeros(cells + 1, dtype=torch.int64, device=index.device)
        tables = counts.index_add_(0, index, torch.ones_like(index))[:-1].reshape(size, self.classes, self.classes)
        self._sum("confusion", tables.sum(0).reshape(-1))
        right = tables.diagonal(dim1=1, dim2=2)
        return right, tables.sum(1) - right, tables.sum(2) - right, (target, predicted)

    def _predicted(self, pred: Tensor) -> Tensor:
        if self.kind == LABELS:
            return (pred[:, 0] if pred.ndim > 3 and pred.shape[1] == 1 else pred).long()
        if self.kind == CHANNELS:
            return pred.argmax(1)
        return self._is_foreground(pred[:, 0] if pred.ndim > 3 and pred.shape[1] == 1 else pred).long()

    def _as_classes(self, pred: Tensor, target: Tensor) -> Tensor:
        if self.kind == CHANNELS and target.shape == pred.shape:
            return target.argmax(1)
        return (target[:, 0] if target.ndim > 3 and target.shape[1] == 1 else target).long()

    def _is_foreground(self, pred: Tensor) -> Tensor:
        if self.settings.logits is False:
            self.check_probabilities(pred)
        if self.settings.logits is not None:
            return pred >= (0 if self.settings.logits else 0.5)
        outside = ((pred < 0) | (pred > 1)).any()
        self._seen_outside = outside if self._seen_outside is None else self._seen_outside | outside
        return pred >= torch.where(self._seen_outside, 0.0, 0.5)

    def _sum(self, name: str, counts: Tensor) -> None:
        self.sums[name] = self.sums[name] + counts if name in self.sums else counts

    def result(self, samples: Arrays) -> dict[str, Any]:
        result: dict[str, Any] = {"task": "segmentation", "classes": self.names}
        right, wrong, missed, matrix = self._totals()
        metrics = {"dice": samples["score"].mean(), "iou": samples["iou"].mean()} if len(samples["score"]) else {}
        if matrix is not None:
            metrics["pixel_accuracy"] = ratio(matrix.trace(), matrix.sum())
            if self.classes <= MAX_MATRIX:
                result["confusion"] = matrix.tolist()
        seen = self._total("samples")
        by_class = {
            "dice": ratio(2 * right, 2 * right + wrong + missed),
            "iou": ratio(right, right + wrong + missed),
            "dice_of_samples": ratio(self._total("dice_of_samples") / 2**24, seen),
            "iou_of_samples": ratio(self._total("iou_of_samples") / 2**24, seen),
        }
        support = [int(each) for each in right + missed]
        by_class_json: dict[str, Any] = {name: numbers(values) for name, values in by_class.items()}
        return {**result, "metrics": known(metrics), "per_class": {**by_class_json, "support": support}}

    def _totals(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        if self.kind == MULTILABEL:
            return self._total("right"), self._total("wrong"), self._total("missed"), None
        matrix = self._total("confusion", self.classes**2).reshape(self.classes, self.classes)
        right = matrix.diagonal()
        return right, matrix.sum(0) - right, matrix.sum(1) - right, matrix

    def _total(self, name: str, size: int | None = None) -> Tensor:
        sums = self.sums.get(name)
        return torch.zeros(size or self.classes, dtype=torch.int64) if sums is None else sums.cpu()

    def _count(self, pred: Tensor) -> int:
        counts = {CHANNELS: pred.shape[1], MULTILABEL: pred.shape[1], BINARY: 2}
        return checked_count(self.settings, counts.get(self.kind), pred)


def _kind(settings: ReportSettings, pred: Tensor, target: Tensor) -> str:
    if pred.ndim < 3:
        raise MisfitError(f"predictions are {describe(pred)}. {_FORMS}", "report::task")
    if not pred.is_floating_point():
        return MULTILABEL if settings.multilabel and pred.shape == target.shape else LABELS
    if pred.shape == target.shape:
        if settings.multilabel:
            return MULTILABEL
        is_volume = settings.count is not None and settings.count != pred.shape[1] and settings.count == 2
        return BINARY if pred.ndim == 3 or pred.shape[1] == 1 or is_volume else CHANNELS
    has_channels = pred.ndim == target.ndim + 1 or (pred.ndim == target.ndim and target.shape[1] == 1)
    if not has_channels:
        message = f"predictions are {describe(pred)}, and targets {describe(target)}. {_FORMS}"
        raise MisfitError(message, "report")
    return BINARY if pred.shape[1] == 1 else CHANNELS
