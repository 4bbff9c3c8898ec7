"""Metrics of other libraries, wrapped as metrics of torchmetrics.

Two kinds are known by their methods: `update`, `compute`, `reset` as in torchmetrics and ignite, and
`__call__(y_pred, y)`, `aggregate`, `reset` as in MONAI. They have values of epochs only: whether a copy of such an
object could compute the value of one batch, and whether it would wait for other processes, cannot be known.
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

from lighter._lightning.metrics import set_update_count, update_state
from lighter.errors import ModuleValueError
from lighter.parts.metrics.synchronization import of_all_processes

KINDS = (("update", "compute", "reset"), ("__call__", "aggregate", "reset"))
EXPECTED = "`update`, `compute` and `reset`, or `__call__`, `aggregate` and `reset`"


def has_methods(metric: object) -> bool:
    """Return whether an object or a class has the methods of one of the two kinds."""
    kind = metric if isinstance(metric, type) else type(metric)
    return any(all(callable(getattr(kind, name, None)) for name in names) for names in KINDS)


class _NoMetric(nn.Module):
    """A stand-in for a metric that must not be affected."""

    def update(self, *args: Any, **kwargs: Any) -> None: ...

    def compute(self) -> None: ...

    def reset(self) -> None: ...


class ForeignMetric(Metric):
    """A metric of another library as a metric of torchmetrics; the wrapped object keeps its own state."""

    full_state_update = False
    metric: Any

    def __init__(self, metric: object) -> None:
        super().__init__()
        self.metric = metric
        self._update_signature = inspect.signature(self._updates)  # by which a collection passes keywords
        self._has_warned = False

    # torchmetrics sets the signature of its own `update`, by which a collection would pass every keyword
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._update_signature = inspect.signature(self._updates)

    @property
    def _updates(self) -> Any:
        return getattr(self.metric, "update", self.metric)

    def update(self, *args: Any, **kwargs: Any) -> None:
        self._updates(*args, **kwargs)

    def compute(self) -> Any:
        """Compute the value; of several processes, the mean of theirs unless it has reduced them itself."""
        metric = self.metric
        value = metric.compute() if hasattr(metric, "compute") else metric.aggregate()
        if isinstance(metric, _NoMetric) or not (distributed.is_available() and distributed.is_initialized()):
            return value
        return self._reduced(value)

    def reset(self) -> None:
        super().reset()
        self.metric.reset()

    def _reduced(self, value: object) -> Any:
        leaves, structure = tree_flatten(value)
        mine = [np.asarray(leaf.detach().cpu() if isinstance(leaf, Tensor) else leaf) for leaf in leaves]
        # by pickle, as the values of other libraries may be of any type and shape
        all_values = of_all_processes(mine)
        first = all_values[0]
        if all(_same(other, first) for other in all_values[1:]):  # MONAI's gather what all processes saw
            return value
        can_average = all([one.shape for one in other] == [one.shape for one in first] for other in all_values)
        if not self._has_warned:
            self._has_warned = True
            reduced = "the mean of their values" if can_average else "that of the first process"
            rank_zero_warn(
                f"{type(self.metric).__name__} does not add up what the {len(all_values)} processes saw: its value is"
                f" {reduced}, which is not the value over all samples"
            )
        values = [np.mean(each, axis=0) for each in zip(*all_values, strict=True)] if can_average else first
        return tree_unflatten([torch.as_tensor(each) for each in values], structure)


def _same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == theirs.dtype.kind == "f")
        for mine, theirs in zip(one, other, strict=True)
    )


def as_metric(given: object) -> Any:
    """Wrap a metric of another library; anything else is returned as it is."""
    is_foreign = not isinstance(given, (Metric, MetricCollection, type)) and has_methods(given)
    return ForeignMetric(given) if is_foreign else given


def as_members(given: Any) -> Any:
    """Wrap metrics of other libraries as a `MetricCollection` takes them, by the name of their own class."""
    if isinstance(given, Mapping):
        return {name: as_metric(metric) for name, metric in given.items()}
    members = [as_metric(metric) for metric in given]
    names = Counter(type(metric.metric).__name__ for metric in foreign_in(members))
    repeated = [name for name, count in names.items() if count > 1]
    if repeated:
        raise ModuleValueError(f"several metrics of a list are called {repeated[0]}; give each a name, in a dict")
    return [
        MetricCollection({type(one.metric).__name__: one}) if isinstance(one, ForeignMetric) else one for one in members
    ]


def foreign_in(metrics: Iterable[Any]) -> list[ForeignMetric]:
    return [metric for metric in metrics if isinstance(metric, ForeignMetric)]


def states_in(metrics: Metric | MetricCollection) -> list[Any]:
    """Return the objects that hold the metrics' states: metrics of torchmetrics, or those that are wrapped."""
    members = [module for module in metrics.modules() if isinstance(module, Metric)]
    return [member.metric if isinstance(member, ForeignMetric) else member for member in members]


@contextmanager
def without_foreign(metrics: Iterable[Any]) -> Iterator[None]:
    """Shield the objects of other libraries from what is done to metrics."""
    # objects of any class: whether one can be copied or restored is not known
    shielded = [(wrapper, wrapper.metric, update_state(wrapper)) for wrapper in foreign_in(metrics)]
    for wrapper, *_ in shielded:
        wrapper.metric = _NoMetric()
    try:
        yield
    finally:
        for wrapper, metric, state in shielded:
            # an `nn.Module` in its place is registered, and another object assigned to the name would be refused
            del wrapper.metric
            wrapper.metric = metric
            set_update_count(wrapper, *state)
