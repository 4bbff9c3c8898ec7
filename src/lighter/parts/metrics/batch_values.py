"""The value of a metric for one batch, worked out only where somebody reads it, and by a copy of the metric.

torchmetrics works out the batch's value whenever a metric is called, which costs more than the update itself and
synchronises with a GPU. It also changes what some metrics have added up: `MinMaxMetric` keeps the extremes of what was
computed, `BootStrapper` draws. Here, calling a metric only updates it. In a step whose value is logged, a copy that is
empty works out the value, or torchmetrics itself where that is known to change nothing. In others, what the call
returns works itself out when it is first used: a mapping for a collection, a tensor for a single metric.
"""

from __future__ import annotations

import copy
import functools
from collections import UserDict
from collections.abc import Callable
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torchmetrics import Metric, MetricCollection

from lighter.parts.metrics.state import unchanged

_DRAWING = ("torchmetrics.image.inception", "torchmetrics.image.perceptual_path_length")  # random numbers, in `compute`


def intercept(metrics: Metric | MetricCollection) -> BatchValues:
    """Put a `BatchValues` in place of the `forward` of these metrics, once."""
    found = metrics.__dict__.get("forward")
    if not isinstance(found, BatchValues):
        found = metrics.__dict__["forward"] = BatchValues(metrics)
    return found


class BatchValues:
    """Takes the place of a metric's `forward`.

    Attributes:
        wanted: whether the next call works out the batch's value at once.
        latest: what the last such call returned; None if there was none since `wanted` was set.
    """

    # nobody looks for metrics in what has no `__dict__`: the copy has no part in checkpoints
    __slots__ = ("_copy", "_is_told", "_parts", "_reduces", "latest", "metrics", "wanted")

    def __init__(self, metrics: Metric | MetricCollection) -> None:
        self.metrics = metrics
        self.wanted = True
        self.latest: Any = None
        self._is_told = False
        self.begin_epoch()

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchValues, (self.metrics,)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.wanted and self._is_known():
            self.latest = self._as_torchmetrics(args, kwargs)
            if self.latest is not None:
                return self.latest
        self.metrics.update(*args, **kwargs)
        if self.wanted:
            self.latest = self._now(args, kwargs)
            if self.latest is not None:
                return self.latest
        work_out = functools.partial(self._of_batch, args, kwargs)
        return LateMapping(make=work_out) if isinstance(self.metrics, MetricCollection) else LateTensor(work_out)

    def begin_epoch(self) -> None:
        """The metrics may have been changed by now: another copy will work out the values."""
        self._copy: MetricCopy | None = None
        self._parts: list[Any] = []
        self._reduces = False

    def _is_known(self) -> bool:
        """Return whether torchmetrics itself changes nothing more by a value; looked at once an epoch."""
        if not self._parts:
            self._parts = [one for one in self.metrics.modules() if _is_metric(one)]
            self._reduces = all(_is_plain(one) and _adds_up(one) for one in self._parts)
        return self._reduces

    def _as_torchmetrics(self, args: Any, kwargs: Any) -> Any:
        """Update the metrics and work out the value in one; None, with nothing changed, if there is none.

        It takes two thirds of the time. To have references to the states is enough: they are replaced, lists emptied.
        """
        before = [(vars(one), {key: list(value) if type(value) is list else value for key, value in vars(one).items()})
                  for one in self._parts]  # fmt: skip
        try:
            of_torchmetrics: Any = type(self.metrics).forward  # around what was put in its place
            return of_torchmetrics(self.metrics, *args, **kwargs)
        except Exception:  # noqa: BLE001 - of any metric; if it is the update's, that will raise it again
            for attributes, saved in before:
                attributes.clear()
                attributes.update(saved)
            return None

    def _of_batch(self, args: Any, kwargs: Any) -> Any:
        if self._copy is None:
            self._copy = MetricCopy(self.metrics)
        return self._copy.of_batch(args, kwargs)

    def _now(self, args: Any, kwargs: Any) -> Any:
        """The batch's value, of a collection what can be worked out; None if nothing can, which is said once."""
        try:
            return self._of_batch(args, kwargs)
        except Exception as error:  # noqa: BLE001 - a value of one step: a training is worth more
            found: dict[str, Any] = {}
            failed = {type(self.metrics).__name__: error}
        if isinstance(self.metrics, MetricCollection) and self._copy is not None:
            found, failed = self._copy.of_members(args, kwargs)
        if not self._is_told:
            self._is_told = True
            told = "; ".join(f"`{name}`: {type(error).__name__}: {error}" for name, error in failed.items())
            rank_zero_warn(
                "a metric has no value for the batch of a step that is logged, so none is logged there, nor at later"
                f" steps like it ({told}). In the epoch's value this batch counts like all others."
            )
        return found or None


class MetricCopy:
    """An empty copy of metrics, which works out values of single batches and remembers none of them.

    Networks that metrics hold are shared with the original. Metrics of other libraries have no values of batches.
    """

    def __init__(self, metrics: Metric | MetricCollection) -> None:
        parts = list(metrics.modules())
        with unchanged(parts):
            metrics.reset()  # so that nothing that was added up is copied
            networks = [one for one in parts if not any(map(_is_metric, one.modules()))]
            self.metrics: Any = copy.deepcopy(metrics, {id(one): one for one in networks})
        self.metrics.__dict__.pop("forward", None)
        self._parts = [one for one in self.metrics.modules() if _is_metric(one)]
        self._is_plain = all(map(_is_plain, self._parts))
        for metric in self._parts:
            if isinstance(metric, Metric):
                # private: what torchmetrics sets while it works out the value of a batch
                metric._enable_grad, metric._to_sync, metric._should_unsync = True, metric.dist_sync_on_step, False
                metric.compute_on_cpu = False

    def of_batch(self, args: Any, kwargs: Any) -> Any:
        """The value of a batch."""
        return self._without_traces(lambda: self._updated(args, kwargs).compute())

    def of_members(self, args: Any, kwargs: Any) -> tuple[dict[str, Any], dict[str, Exception]]:
        """The values of those members of a collection that have one, and the errors of the others."""
        values: dict[str, Any] = {}
        errors: dict[str, Exception] = {}

        def work_out() -> None:
            names = {"prefix": self.metrics.prefix, "postfix": self.metrics.postfix}
            for name, member in self._updated(args, kwargs).items(keep_base=True, copy_state=False):
                try:
                    values.update(MetricCollection({name: member}, **names).compute())
                except Exception as error:  # noqa: BLE001 - as above
                    errors[name] = error

        self._without_traces(work_out)
        return values, errors

    def _updated(self, args: Any, kwargs: Any) -> Any:
        self.metrics.reset()
        self.metrics.update(*args, **kwargs)
        return self.metrics

    def _without_traces(self, work_out: Callable[[], Any]) -> Any:
        """Leave no trace of a value: in what outlives `reset`, and in the random numbers that are drawn next."""
        if self._is_plain:
            return work_out()
        with isolate_rng(), unchanged(self._parts):
            try:
                value, error = work_out(), None
            except Exception as caught:  # noqa: BLE001 - `isolate_rng` would let it pass, and not isolate
                value, error = None, caught
        if error is not None:
            raise error
        return value


def _is_metric(module: nn.Module) -> bool:
    return isinstance(module, (Metric, MetricCollection))


def _adds_up(metric: Any) -> bool:
    """Return whether torchmetrics adds a batch's state to that of the batches before, and does not update twice."""
    return isinstance(metric, MetricCollection) or (metric.full_state_update is False and not metric.dist_sync_on_step)


def _is_plain(metric: Any) -> bool:
    """Return whether a metric is known to forget all by `reset`, and to draw nothing."""
    kind = type(metric)
    if kind is MetricCollection:
        return True
    is_torchmetrics = kind.__module__.startswith("torchmetrics.") and kind.__module__ not in _DRAWING
    return is_torchmetrics and kind.reset is Metric.reset and kind.forward is Metric.forward


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
