"""The value of a metric for one batch, worked out only where somebody reads it.

torchmetrics works out the batch's value whenever a metric is called, which costs more than the update itself and
synchronises with a GPU. In a step whose value is not logged, calling a metric only updates it, and what the call
returns works itself out when it is first used: a mapping for a collection, a tensor for a single metric.
"""

from __future__ import annotations

import functools
from collections import UserDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only
from torchmetrics import Metric, MetricCollection


def intercept(metrics: Metric | MetricCollection) -> BatchValues:
    """Put a `BatchValues` in place of the `forward` of these metrics, once."""
    found = metrics.__dict__.get("forward")
    if not isinstance(found, BatchValues):
        found = metrics.__dict__["forward"] = BatchValues(metrics)
    return found


class BatchValues:
    """Takes the place of a metric's `forward`.

    Attributes:
        wanted: whether the next call works out the batch's value at once, as torchmetrics does.
        latest: what the last such call returned; None if there was none since `wanted` was set.
    """

    def __init__(self, metrics: Metric | MetricCollection) -> None:
        self.metrics = metrics
        self.wanted = True
        self.latest: Any = None
        self._empty: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.wanted:
            self.latest = _forward(self.metrics, args, kwargs)
            return self.latest
        self.metrics.update(*args, **kwargs)

        work_out = functools.partial(self._of_batch, args, kwargs)
        return LateMapping(make=work_out) if isinstance(self.metrics, MetricCollection) else LateTensor(work_out)

    def _of_batch(self, args: Any, kwargs: Any) -> Any:
        if self._empty is None:
            self._empty = self.metrics.clone()  # once: a copy of what was gathered so far, which is thrown away
        self._empty.reset()
        return _forward(self._empty, args, kwargs)


def _forward(metrics: Any, args: Any, kwargs: Any) -> Any:
    """What torchmetrics defines, around what was put in its place."""
    return type(metrics).forward(metrics, *args, **kwargs)


class LateMapping(UserDict):
    """A dict that is filled when it is first looked into."""

    def __init__(self, data: Any = None, *, make: Callable[[], Any] | None = None) -> None:
        self._make = make
        if make is None:
            super().__init__(data)

    def __getattr__(self, name: str) -> Any:
        if name != "data":
            raise AttributeError(name)
        make = self.__dict__.get("_make")
        self.data = dict(make()) if make is not None else {}
        return self.data

    def __reduce__(self) -> Any:
        return dict, (dict(self.data),)


class LateTensor(Tensor):
    """A tensor that is worked out when anything is done with it."""

    _make: Callable[[], Tensor]
    _value: Tensor | None

    @staticmethod
    def __new__(cls, make: Callable[[], Tensor]) -> LateTensor:
        late = torch.Tensor._make_subclass(cls, torch.empty(()))
        late._make, late._value = make, None
        return late

    def __init__(self, make: Callable[[], Tensor]) -> None:
        super().__init__()

    def value(self) -> Any:
        """The tensor that this one stands for."""
        if self._value is None:
            self._value = self._make()
        return self._value

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = tree_map_only(LateTensor, LateTensor.value, (args, kwargs or {}))
        return func(*args, **kwargs)
