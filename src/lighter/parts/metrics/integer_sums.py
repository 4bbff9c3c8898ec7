"""Metrics whose states are sums of integers: one update with many batches gives the same bits as one for each.

Integers add up to the same however they are grouped. That an update computes the same integers for a sample, whatever
batch it is in, was read in torchmetrics, for the updates of `_NORMALIZES`; accuracy, F1, Jaccard, AUROC and others
inherit these. What depends on the batch there:

- **Normalization.** If any prediction is outside of [0, 1], all are taken for logits, by a sigmoid or softmax. So no
  prediction of the batches may be outside, or each batch is normalized by itself before they are joined.
- **Size.** Curves are computed in two ways, by size. Merged updates stay below, by `_max_samples`.
- **Ties.** `top_k` above 1 is left out: the order of equal predictions is not defined.
- **Memory.** Deterministic algorithms count by a table of samples times classes squared, too large for many batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torchmetrics
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics import classification as kinds
from torchmetrics.utilities.compute import normalize_logits_if_needed
from torchmetrics.wrappers import ClasswiseWrapper

from lighter._lightning.metrics import NamedMetrics, has_formed_groups

MAX_BYTES = 2**21
"""Bytes of a merged update, or of the integers that a binned curve makes of it: what fits into a core's cache. Beyond
it, one merged update takes as long as one for each batch."""

_IS_KNOWN = torchmetrics.__version__.startswith("1.9.")  # the version whose updates were read
_NORMALIZES: Mapping[Callable[..., None], str] = {
    kinds.MulticlassStatScores.update: "",
    kinds.MulticlassExactMatch.update: "",
    kinds.MulticlassConfusionMatrix.update: "",
    kinds.BinaryStatScores.update: "sigmoid",
    kinds.BinaryConfusionMatrix.update: "sigmoid",
    kinds.BinaryPrecisionRecallCurve.update: "sigmoid",
    kinds.MultilabelStatScores.update: "sigmoid",
    kinds.MultilabelExactMatch.update: "sigmoid",
    kinds.MultilabelConfusionMatrix.update: "sigmoid",
    kinds.MultilabelPrecisionRecallCurve.update: "sigmoid",
    kinds.MulticlassPrecisionRecallCurve.update: "softmax",
}


class Merging(NamedTuple):
    """Limits and preparation of a merged update of some metrics, with batches of one form."""

    # of all batches together
    max_samples: int
    # of the metrics; the empty one for those that take predictions as they are
    normalizations: frozenset[str]
    # whether predictions may be normalized before the update, where there is one normalization
    can_normalize: bool

    def join(self, predictions: Sequence[Tensor]) -> Tensor | None:
        """Join predictions such that metrics treat each as they would in its own batch; None if that cannot be."""
        joined = torch.cat([*predictions])
        if self.normalizations == {""} or not joined.is_floating_point() or _is_within(joined):
            return joined
        if len(self.normalizations) > 1 or not self.can_normalize:
            return None
        # not all of them at once: the last bit of a sigmoid depends on the place in memory
        (kind,) = self.normalizations
        joined = torch.cat([normalize_logits_if_needed(each, kind) for each in predictions])  # type: ignore[arg-type]
        return joined if _is_within(joined) else None


def merging(parts: Sequence[nn.Module], preds: Tensor, target: Tensor) -> Merging | None:
    """Return how the updates of a metric or collection, given with all its parts, may be merged; None if not at all."""
    # MPS and XLA count by the table, too
    may_count = preds.device.type in ("cpu", "cuda") and not torch.are_deterministic_algorithms_enabled()
    if not may_count or not all(_is_understood(part, preds) for part in parts):
        return None
    metrics = [part for part in parts if isinstance(part, Metric) and type(part) is not ClasswiseWrapper]
    max_samples = _max_samples(metrics, preds, target)
    if 4 * len(target) > max_samples:
        return None  # copying such batches takes as long as is saved
    return Merging(
        max_samples,
        frozenset(map(_normalization, metrics)),
        # those that ignore a class normalize what is left, and further dimensions may be moved before
        can_normalize=preds.ndim <= 2 and all(metric.ignore_index is None for metric in metrics),
    )


def _is_understood(part: nn.Module, preds: Tensor) -> bool:
    """Return whether the update of a metric or collection with such predictions was read."""
    if isinstance(part, MetricCollection):
        return type(part) in (MetricCollection, NamedMetrics) and has_formed_groups(part)
    if not isinstance(part, Metric):
        return False
    if type(part) is ClasswiseWrapper:
        return _updates_as_torchmetrics(part)  # it passes on what it gets
    return adds_integers(part) and _takes(part, preds)


def adds_integers(metric: Metric) -> bool:
    """Return whether an update adds integers of the batch to the state, and does nothing else."""
    return (
        _updates_as_torchmetrics(metric)
        and type(metric).update in _NORMALIZES
        and getattr(metric, "top_k", 1) == 1
        # by some settings the states are lists: of samples, or of all predictions
        and all(isinstance(one, Tensor) and one.dtype is torch.int64 for one in metric.metric_state.values())
    )


def _updates_as_torchmetrics(metric: Metric) -> bool:
    update = getattr(metric.update, "__wrapped__", metric.update)  # a metric counts its updates, a wrapper does not
    is_own = getattr(update, "__func__", None) is type(metric).update  # users may set another on the object
    return _IS_KNOWN and is_own and type(metric).__module__.startswith("torchmetrics.")


def _takes(metric: Metric, preds: Tensor) -> bool:
    """Return whether a metric treats such predictions alike in each batch, and outside of autocast."""
    if hasattr(metric, "thresholds") and not preds.is_floating_point():
        return False  # a curve would normalize integers
    normalization = _normalization(metric)
    if normalization == "softmax" and preds.itemsize < 4:
        return False  # autocast computes it in float32, and is off when the updates are computed
    return not normalization or preds.is_contiguous()  # the last bit of a sigmoid depends on the layout


def _normalization(metric: Metric) -> str:
    return getattr(metric, "normalization", _NORMALIZES[type(metric).update]) or ""


def _max_samples(metrics: Sequence[Metric], preds: Tensor, target: Tensor) -> int:
    """Return how many samples a merged update may have."""
    integers = 0
    for metric in metrics:
        thresholds = getattr(metric, "thresholds", None)
        if isinstance(thresholds, Tensor):
            # A binned curve makes an integer of each prediction and threshold. It counts at least 8, and at least the
            # classes: then no merged update has more than 50,000 predictions (1,000,000 by classes), where torchmetrics
            # changes its way.
            integers = max(integers, len(thresholds), int(getattr(metric, "num_classes", None) or 8), 8)
    # tensors of shape (N, 0) have no bytes, and metrics take them
    size = max(preds.nbytes + target.nbytes, 8 * integers * preds.numel(), 1)
    return MAX_BYTES * len(target) // size


def _is_within(preds: Tensor) -> bool:
    """Return whether all predictions are probabilities."""
    # NaN compares as false, and so is none
    return bool(((preds >= 0) & (preds <= 1)).all())
