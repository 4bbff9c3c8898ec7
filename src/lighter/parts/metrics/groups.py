"""Collections of metrics: how a module's metrics become one, and which of them share an update.

torchmetrics lets metrics of a collection share one state if their states happen to be equal after the first batch. So
it gives a metric the numbers of another: of one with its own threshold, say, that no value of that batch was near.
Here only metrics share that are known to accumulate the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.wrappers import ClasswiseWrapper
from torchmetrics.wrappers.abstract import WrapperMetric

from lighter._lightning.metrics import NamedMetrics, may_group, set_groups
from lighter.errors import MisfitError, ModuleTypeError
from lighter.parts.metrics.batch_values import Metrics
from lighter.parts.metrics.foreign import EXPECTED, as_members, has_methods

_NOT_COMPARED = {"update", "compute", "training"}  # bound to the instance, or no setting
_EXAMPLE = """For example:
  train_metrics:
    accuracy: {_target_: torchmetrics.classification.MulticlassAccuracy, num_classes: 10}
    f1: {_target_: torchmetrics.classification.MulticlassF1Score, num_classes: 10}"""


def prepare_metrics(given: object, name: str) -> Metrics | None:
    """Return the metrics of a mode: a metric or collection as it is given, a list or dict of metrics as a collection.

    Raises:
        ModuleTypeError: anything else is given.
    """
    if isinstance(given, MetricCollection):
        share_updates(given)
    if given is None or isinstance(given, (Metric, MetricCollection)):
        return given
    members = given.values() if isinstance(given, Mapping) else given if isinstance(given, (list, tuple)) else [given]
    for member in members:
        if not isinstance(member, (Metric, MetricCollection)) and (isinstance(member, type) or not has_methods(member)):
            where = "" if member is given else f" among {name}'s members"
            raise ModuleTypeError(
                f"`{name}` takes a torchmetrics.Metric, a MetricCollection, another object with {EXPECTED}, or a list"
                f" or dict of metrics; found a {type(member).__name__}{where}. {_EXAMPLE}"
            )
    return collection_of(as_members(given if isinstance(given, Mapping) else list(members))) if members else None


def collection_of(members: Mapping[str, Any] | list[Any]) -> MetricCollection:
    """Make a collection of metrics that are in a dict or a list."""
    collection = NamedMetrics(members)  # type: ignore[arg-type]
    share_updates(collection)
    return collection


def share_updates(collection: MetricCollection) -> None:
    """Let those metrics share an update that are known to accumulate the same; groups that the user chose stay."""
    if not may_group(collection):
        return
    groups: list[list[str]] = []
    for key in map(str, collection.keys(keep_base=True)):
        metric = getattr(collection, key)
        group = next((group for group in groups if _add_up_alike(getattr(collection, group[0]), metric)), None)
        if group is None:
            groups.append([key])
        else:
            group.append(key)
    set_groups(collection, groups)


def _add_up_alike(one: Metric, other: Metric) -> bool:
    """Return whether two metrics are torchmetrics' own, with one `update` and the same value of each common setting."""
    for metric in (one, other):
        is_theirs = type(metric).__module__.partition(".")[0] == "torchmetrics"
        # a wrapper's update is that of the metric in it, which is another object
        if not is_theirs or isinstance(metric, WrapperMetric) or any(True for _ in metric.children()):
            return False
    if type(one).update is not type(other).update:
        return False
    # a setting that only one of them has does not take part in the update that they share
    both = vars(one).keys() & vars(other).keys() - _NOT_COMPARED
    return all(_equal(vars(one)[name], vars(other)[name]) for name in both)


def _equal(one: Any, other: Any) -> bool:
    # 1 and True are equal, and mean different settings
    if type(one) is not type(other):
        return False
    # its `==` gives a tensor
    if isinstance(one, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one is other or one == other)


def check_labels(metrics: Metrics) -> None:
    """Check that each class has a label of its own, now that the metrics have something to compute.

    Raises:
        MisfitError: torchmetrics would leave classes out, or write one over another.
    """
    for wrapper in (module for module in metrics.modules() if isinstance(module, ClasswiseWrapper)):
        labels = wrapper.labels
        if labels is None:
            continue
        computed = wrapper.metric.compute()
        classes = len(computed) if isinstance(computed, Tensor) and computed.ndim else len(labels)
        repeated = [label for label in dict.fromkeys(labels) if labels.count(label) > 1]
        kind = type(wrapper.metric).__name__
        if len(labels) != classes:
            raise MisfitError(
                f"the ClasswiseWrapper of {kind} has {len(labels)} labels, and there are {classes} classes"
            )
        if repeated:
            raise MisfitError(f"the ClasswiseWrapper of {kind} has labels that come again: {', '.join(repeated)}")
