"""The value of a metric for one batch, computed only where it is read, and without a trace in the metric.

torchmetrics computes the batch's value whenever a metric is called. That costs more than the update, synchronizes with
a GPU, and changes the state of some metrics: `MinMaxMetric` keeps the extremes of what was computed, `BootStrapper`
draws random numbers. So a measured step sees its metrics as `StepMetrics`, which only update when they are called, and
return a value that is computed when it is first used: a mapping for a collection, a tensor for a single metric.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias, TypeGuard

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from lighter._lightning.metrics import NamedMetrics, compute_for_batch
from lighter.parts.metrics.lazy_values import LazyMapping, LazyTensor
from lighter.parts.metrics.pending_updates import PendingUpdates
from lighter.parts.metrics.state import unchanged
from lighter.parts.proxy import Proxy, uncompiled

Metrics: TypeAlias = Metric | MetricCollection
Args: TypeAlias = tuple[Any, ...]
Kwargs: TypeAlias = dict[str, Any]

_MAX_COPY = 2**19  # bytes of a tensor: to copy a larger one takes as long as to compute the value

# these draw random numbers in `compute`
_DRAWING = ("torchmetrics.image.inception", "torchmetrics.image.perceptual_path_length")


class BatchValues:
    """Update metrics, and compute their values for single batches."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        # whether the next update computes the batch's value immediately, as it will be logged
        self.wanted = True
        # the value that was computed immediately; None if there was none since `wanted` was set
        self.latest: Any = None
        self.pending = PendingUpdates(metrics)
        # known from here on: to ask a metric for its class computes the updates that wait
        self._lazy = LazyMapping if isinstance(metrics, MetricCollection) else LazyTensor
        self._has_warned = False
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Drop what is known of the metrics."""
        # the user may have changed the metrics since the last epoch
        self._copy: MetricCopy | None = None
        self._parts: list[Metrics] = []
        self._reduces = False

    def update(self, args: Args, kwargs: Kwargs) -> Any:
        """Update the metrics, and return the batch's value, which is computed on use unless it is wanted."""
        if self.wanted:
            self.latest = self._update_and_compute(args, kwargs)
            if self.latest is not None:
                return self.latest
        else:
            # the value is read later, when the user's code may have changed its tensors
            args, kwargs = _copies(args), dict(zip(kwargs, _copies(kwargs.values()), strict=True))
            self.pending.update(args, kwargs, are_copies=not has_large(args, kwargs))
        return self._lazy(compute=functools.partial(self._compute_in_copy, args, kwargs))

    def _update_and_compute(self, args: Args, kwargs: Kwargs) -> Any:
        self.pending.finish()
        # in two thirds of the time of an update and a value apart
        value = self._call_torchmetrics(args, kwargs) if self._is_free_of_side_effects() else None
        if value is None:
            # before the value, so that an error of the update is the metric's own
            self.metrics.update(*args, **kwargs)
            value = self._compute(args, kwargs)
        self.pending.was_updated(args, kwargs)
        return value

    def _is_free_of_side_effects(self) -> bool:
        """Return whether torchmetrics changes nothing but the sums when it computes a value."""
        if not self._parts:
            self._parts = [
                module for module in self.metrics.modules() if isinstance(module, (Metric, MetricCollection))
            ]
            self._reduces = all(_is_plain(metric) and _adds_up(metric) for metric in self._parts)
        return self._reduces

    def _call_torchmetrics(self, args: Args, kwargs: Kwargs) -> Any:
        """Update and compute in one call; None, with nothing changed, if there is no value."""
        # references to the states are enough to restore them: states are replaced, and only lists grow in place
        before = [
            (vars(metric), {key: [*value] if type(value) is list else value for key, value in vars(metric).items()})
            for metric in self._parts
        ]
        try:
            return self.metrics(*args, **kwargs)
        except Exception:  # noqa: BLE001 - of any metric; if it is the update's, the caller's update raises it again
            for attributes, saved in before:
                attributes.clear()
                attributes.update(saved)
            return None

    def _compute_in_copy(self, args: Args, kwargs: Kwargs) -> Any:
        if self._copy is None:
            self._copy = MetricCopy(self.metrics)
        return self._copy.compute(args, kwargs)

    def _compute(self, args: Args, kwargs: Kwargs) -> Any:
        """Compute the batch's value, of a collection those that have one; None if there is none, which warns once."""
        try:
            return self._compute_in_copy(args, kwargs)
        except Exception as error:  # noqa: BLE001 - the value of one step must not end a training
            # the metrics fail as a whole, and their members may have values
            values: dict[str, Any] = {}
            failed = {type(self.metrics).__name__: error}
        if self._lazy is LazyMapping and self._copy is not None:
            values, failed = self._copy.compute_members(args, kwargs)
        if not self._has_warned:
            self._has_warned = True
            reasons = "; ".join(f"`{name}`: {type(error).__name__}: {error}" for name, error in failed.items())
            rank_zero_warn(
                "a metric has no value for the batch of a step that is logged, so none is logged there, nor at later"
                f" steps like it ({reasons}). In the epoch's value this batch counts like all others."
            )
        return values or None


def has_large(args: Args, kwargs: Kwargs) -> bool:
    """Return whether some arguments are not copied, so that a value of them has to be read before they are changed."""
    return not all(_is_small(value) or type(value) in (float, int) for value in (*args, *kwargs.values()))


def _is_small(value: object) -> TypeGuard[Tensor]:
    if type(value) is not Tensor or value.nbytes > _MAX_COPY:
        return False
    return value.is_contiguous() or _extent(value) * value.itemsize <= _MAX_COPY


def _copies(values: Iterable[Any]) -> Args:
    return tuple(_copy(value) if _is_small(value) else value for value in values)


def _copy(tensor: Tensor) -> Tensor:
    """Copy a tensor with its layout, on which the last bit of a floating-point sum depends."""
    # of a column, say, `clone` makes a contiguous tensor
    if tensor.is_contiguous():
        return tensor.clone()
    return tensor.as_strided((_extent(tensor),), (1,)).clone().as_strided(tensor.shape, tensor.stride())


def _extent(tensor: Tensor) -> int:
    """Return how many elements lie between the first and the last one of a tensor in memory."""
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


class StepMetrics(Proxy):
    """Metrics as a measured step sees them: a call updates them once, and computes the value when it is read."""

    __slots__ = ("_batch_values",)

    def __init__(self, batch_values: BatchValues) -> None:
        super().__init__(batch_values.metrics)
        # an ordinary assignment would set the attribute of the metrics
        object.__setattr__(self, "_batch_values", batch_values)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return uncompiled(self, *args, **kwargs)
        return self._batch_values.update(args, kwargs)

    forward = __call__

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update the metrics, without a value of the batch."""
        if torch.compiler.is_compiling():
            uncompiled(self.update, *args, **kwargs)
            return
        self._batch_values.pending.update(args, kwargs)

    def __getitem__(self, key: str) -> Metric:
        return self._wrapped[key]  # type: ignore[no-any-return]

    def __contains__(self, key: object) -> bool:
        return key in self._wrapped

    def __iter__(self) -> Iterator[Any]:
        return iter(self._wrapped)

    def __len__(self) -> int:
        return len(self._wrapped)

    def __bool__(self) -> bool:
        return bool(self._wrapped)

    def __reduce__(self) -> tuple[Any, ...]:
        return StepMetrics, (self._batch_values,)


class MetricCopy:
    """An empty copy of metrics, which computes the values of single batches and remembers none of them."""

    def __init__(self, metrics: Metrics) -> None:
        modules = list(metrics.modules())
        with unchanged(modules):
            metrics.reset()  # so that nothing that was accumulated is copied
            # shared with the original: a copy of an Inception network takes memory and time
            networks = [one for one in modules if not any(map(_is_metric, one.modules()))]
            self.metrics: Any = copy.deepcopy(metrics, {id(one): one for one in networks})
        self._parts = [one for one in self.metrics.modules() if _is_metric(one)]
        self._is_plain = all(map(_is_plain, self._parts))
        for metric in self._parts:
            if isinstance(metric, Metric):
                compute_for_batch(metric)

    def compute(self, args: Args, kwargs: Kwargs) -> Any:
        """Compute the value of a batch."""
        return self._without_traces(lambda: self._updated(args, kwargs).compute())

    def compute_members(self, args: Args, kwargs: Kwargs) -> tuple[dict[str, Any], dict[str, Exception]]:
        """Compute the values of those members of a collection that have one; return the errors of the others too."""
        values: dict[str, Any] = {}
        errors: dict[str, Exception] = {}

        def compute_each() -> None:
            names = {"prefix": self.metrics.prefix, "postfix": self.metrics.postfix}
            # a collection of one names its values as the whole one does
            for name, member in self._updated(args, kwargs).items(keep_base=True, copy_state=False):
                try:
                    values.update(MetricCollection({name: member}, **names).compute())
                except Exception as error:  # noqa: BLE001 - as above
                    errors[name] = error

        self._without_traces(compute_each)
        return values, errors

    def _updated(self, args: Args, kwargs: Kwargs) -> Any:
        self.metrics.reset()
        self.metrics.update(*args, **kwargs)
        return self.metrics

    def _without_traces(self, compute: Callable[[], Any]) -> Any:
        """Compute without a trace of the value in metrics or random numbers."""
        if self._is_plain:
            return compute()
        error: Exception | None = None
        # what outlives `reset` (the extremes of `MinMaxMetric`), and the random numbers that are drawn next
        # (`BootStrapper`)
        with isolate_rng(), unchanged(self._parts):
            try:
                value = compute()
            except Exception as caught:  # noqa: BLE001 - raised within, `isolate_rng` would not restore
                error = caught
        if error is not None:
            raise error
        return value


def _is_metric(module: nn.Module) -> bool:
    return isinstance(module, (Metric, MetricCollection))


def _adds_up(metric: Metrics) -> bool:
    """Return whether torchmetrics adds a batch's state to that of the batches before, and does not update twice."""
    return isinstance(metric, MetricCollection) or (metric.full_state_update is False and not metric.dist_sync_on_step)


def _is_plain(metric: nn.Module) -> bool:
    """Return whether a metric is known to forget everything by `reset`, and to draw nothing."""
    kind = type(metric)
    if kind in (MetricCollection, NamedMetrics):
        return True
    is_torchmetrics = kind.__module__.startswith("torchmetrics.") and kind.__module__ not in _DRAWING
    # one that overrides either keeps more than its states
    return is_torchmetrics and kind.reset is Metric.reset and kind.forward is Metric.forward  # type: ignore[attr-defined]
