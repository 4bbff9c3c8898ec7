"""Metrics of other libraries than torchmetrics, as torchmetrics sees them.

Two kinds are known by their methods: `update`, `compute`, `reset` as in torchmetrics and ignite, and
`__call__(y_pred, y)`, `aggregate`, `reset` as in MONAI. They have values of epochs only: whether a copy of such an
object would work out the value of one batch, and whether it would wait for other processes, cannot be known.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor, distributed, nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torchmetrics import Metric, MetricCollection

from lighter.errors import ModuleValueError

KINDS = (("update", "compute", "reset"), ("__call__", "aggregate", "reset"))
EXPECTED = "`update`, `compute` and `reset`, or `__call__`, `aggregate` and `reset`"


def has_methods(metric: Any) -> bool:
    """Return whether an object or a class has the methods of one of the two kinds."""
    kind = metric if isinstance(metric, type) else type(metric)
    return any(all(callable(getattr(kind, name, None)) for name in names) for names in KINDS)


class _NoMetric(nn.Module):
    """Stands in for a metric that must not notice what is done."""

    def update(self, *args: Any, **kwargs: Any) -> None: ...

    def compute(self) -> None: ...

    def reset(self) -> None: ...


class ForeignMetric(Metric):
    """A metric of another library, as a metric of torchmetrics.

    Args:
        metric: an object with the methods of one of the two kinds; it keeps its own state.
    """

    full_state_update = False
    metric: Any

    def __init__(self, metric: Any) -> None:
        super().__init__()
        self.metric = metric
        self._update_signature = inspect.signature(self._updates)  # by which a collection passes keywords
        self._is_told = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._update_signature = inspect.signature(self._updates)

    @property
    def _updates(self) -> Any:
        return getattr(self.metric, "update", self.metric)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Give it a batch."""
        self._updates(*args, **kwargs)

    def compute(self) -> Any:
        """Its value; of several processes, the mean of theirs where it has not reduced them itself."""
        metric = self.metric
        value = metric.compute() if hasattr(metric, "compute") else metric.aggregate()
        if isinstance(metric, _NoMetric) or not (distributed.is_available() and distributed.is_initialized()):
            return value
        return self._of_all_processes(value)

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self.metric.reset()

    def _of_all_processes(self, value: Any) -> Any:
        leaves, structure = tree_flatten(value)
        mine = [np.asarray(leaf.detach().cpu() if isinstance(leaf, Tensor) else leaf) for leaf in leaves]
        all_values: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(all_values, mine)
        first = all_values[0]
        if all(_same(other, first) for other in all_values[1:]):  # MONAI's gather what all processes saw
            return value
        can_average = all([one.shape for one in other] == [one.shape for one in first] for other in all_values)
        if not self._is_told:
            self._is_told = True
            which = "the mean of their values" if can_average else "that of the first process"
            rank_zero_warn(
                f"{type(self.metric).__name__} does not add up what the {len(all_values)} processes saw: its value is"
                f" {which}, which is not the value over all samples"
            )
        values = [np.mean(each, axis=0) for each in zip(*all_values, strict=True)] if can_average else first
        return tree_unflatten([torch.as_tensor(each) for each in values], structure)


def _same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == theirs.dtype.kind == "f")
        for mine, theirs in zip(one, other, strict=True)
    )


def as_metric(given: Any) -> Any:
    """Return a `ForeignMetric` of a metric of another library; anything else as it is."""
    is_foreign = not isinstance(given, (Metric, MetricCollection, type)) and has_methods(given)
    return ForeignMetric(given) if is_foreign else given


def as_members(given: Any) -> Any:
    """Metrics as a `MetricCollection` takes them: those of other libraries are `ForeignMetric`s, called as they are.

    Args:
        given: a dict of metrics, or a list of them.

    Raises:
        ModuleValueError: several metrics in a list have one name.
    """
    if isinstance(given, Mapping):
        return {name: as_metric(metric) for name, metric in given.items()}
    members = [as_metric(metric) for metric in given]
    names = Counter(type(metric.metric).__name__ for metric in foreign_in(members))
    again = [name for name, count in names.items() if count > 1]
    if again:
        raise ModuleValueError(f"several metrics of a list are called {again[0]}; give each a name, in a dict")
    return [
        MetricCollection({type(one.metric).__name__: one}) if isinstance(one, ForeignMetric) else one for one in members
    ]


def foreign_in(metrics: Iterable[Any]) -> list[ForeignMetric]:
    """Those of some metrics that are of other libraries."""
    return [metric for metric in metrics if isinstance(metric, ForeignMetric)]


def states_in(metrics: Metric | MetricCollection) -> list[Any]:
    """The objects that hold states in some metrics: metrics of torchmetrics, and those of other libraries."""
    members = [one for one in metrics.modules() if isinstance(one, Metric)]
    return [one.metric if isinstance(one, ForeignMetric) else one for one in members]


@contextmanager
def without_foreign(metrics: Iterable[Any]) -> Iterator[None]:
    """Keep what is done to some metrics from the objects of other libraries: they cannot be copied or put back."""
    put_aside = [(one, one.metric, one._update_count, one._computed) for one in foreign_in(metrics)]
    for one, *_ in put_aside:
        one.metric = _NoMetric()
    try:
        yield
    finally:
        for one, metric, count, computed in put_aside:
            del one.metric
            one.metric, one._update_count, one._computed = metric, count, computed
