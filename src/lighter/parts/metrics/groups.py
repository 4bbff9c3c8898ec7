"""Collections of metrics: which of them share an update, and what their values are called.

torchmetrics lets metrics of a collection share one state if their states happen to be equal after the first batch, and
so gives a metric the numbers of another: of one with a threshold of its own, say, that no value of that batch was near.
Here only metrics share that are known to add up the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.wrappers import BootStrapper, ClasswiseWrapper, MinMaxMetric
from torchmetrics.wrappers.abstract import WrapperMetric

from lighter.errors import MisfitError

_UNNAMED = (BootStrapper, MinMaxMetric)  # whose values are called `mean`, `min`, ..., whatever they wrap
_NOT_COMPARED = {"update", "compute", "training"}  # bound to the instance, or no setting


class NamedMetrics(MetricCollection):
    """A collection in which the values of each wrapper begin with its key, and not only where two of them collide."""

    def _compute_and_reduce(self, method_name: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Private in torchmetrics, where nothing public tells whose a value is."""
        members = dict(self.items(keep_base=True, copy_state=False))
        if not any(isinstance(metric, _UNNAMED) for metric in members.values()):
            return super()._compute_and_reduce(method_name, *args, **kwargs)
        results = {
            key: metric.compute() if method_name == "compute" else metric(*args, **metric._filter_kwargs(**kwargs))
            for key, metric in members.items()
        }
        inner = [name for result in results.values() if isinstance(result, dict) for name in result]
        values: dict[str, Any] = {}
        for key, result in results.items():
            for name, value in result.items() if isinstance(result, dict) else ():
                is_alone = inner.count(name) == 1 and name not in results and not isinstance(members[key], _UNNAMED)
                values[name if is_alone else f"{key}_{name}"] = value
            if not isinstance(result, dict):
                values[key] = result
        return {self._set_name(name): value for name, value in values.items()}


def collection_of(members: Mapping[str, Any] | list[Any]) -> MetricCollection:
    """Make a collection of metrics that are in a dict or a list."""
    collection = NamedMetrics(members)  # type: ignore[arg-type]
    share_updates(collection)
    return collection


def share_updates(collection: MetricCollection) -> None:
    """Let those metrics share an update that are known to add up the same; groups that somebody chose stay.

    Private in part: the public argument of the constructor comes too early where a collection is given.
    """
    if collection._enable_compute_groups is not True or collection._groups_checked:
        return
    groups: list[list[str]] = []
    for key in map(str, collection.keys(keep_base=True)):
        metric = getattr(collection, key)
        group = next((group for group in groups if _add_up_alike(getattr(collection, group[0]), metric)), None)
        if group is None:
            groups.append([key])
        else:
            group.append(key)
    collection._enable_compute_groups = groups
    collection._init_compute_groups()


def _add_up_alike(one: Metric, other: Metric) -> bool:
    """Whether two metrics are torchmetrics' own, have one `update`, and the same settings where both have them."""
    for metric in (one, other):
        is_theirs = type(metric).__module__.partition(".")[0] == "torchmetrics"
        if not is_theirs or isinstance(metric, WrapperMetric) or metric._modules:
            return False
    if type(one).update is not type(other).update:
        return False
    both = vars(one).keys() & vars(other).keys() - _NOT_COMPARED
    return all(_equal(vars(one)[name], vars(other)[name]) for name in both)


def _equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one is other or one == other)


def check_labels(metrics: Metric | MetricCollection) -> None:
    """See that each class has a label of its own, now that the metrics have something to compute.

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
