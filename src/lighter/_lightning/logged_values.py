"""The values that `self.log` collects in a loop, and the connector that hands them to loggers and callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.apply_func import convert_tensors_to_scalars
from pytorch_lightning.trainer.connectors.logger_connector.logger_connector import _LoggerConnector
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection, _ResultMetric
from torch import Tensor
from torchmetrics import Metric

from lighter._lightning.metric_values import is_array
from lighter._lightning.results import SHOWN

LoggedItem = _ResultMetric
REDUCED = (torch.float32, torch.float64)  # Lightning converts values of other types, and warns of some


class LoggerConnector(_LoggerConnector):
    """The connector that hands logged values to loggers, callbacks and the progress bar."""

    # After each step Lightning copies all values of the step into three dictionaries. The public properties look the
    # values up anyway when they are read. So here only references are kept, which are copied before the loop's values
    # are others.
    unread: StepValues | None = None
    # the kinds of values that were looked up since, which are newer
    kinds_read: frozenset[str] = frozenset()
    # is given the values of an epoch's metrics that are no numbers, by name; returns the numbers in them
    keep: Callable[[pl.Trainer, dict[str, object]], dict[str, Tensor]] | None = None

    @classmethod
    def install(cls, trainer: pl.Trainer) -> LoggerConnector:
        connector = cls(trainer)
        vars(connector).update(vars(trainer._logger_connector))
        trainer._logger_connector = connector
        return connector

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Log values; those that are no numbers, which Lightning refuses, are left to `keep`."""
        super().log_metrics({name: value for name, value in metrics.items() if not is_array(value)}, step)

    def update_eval_epoch_metrics(self) -> dict[str, Any]:
        """Return the values of an evaluation that are numbers, as the stages of the trainer return them."""
        return {name: value for name, value in super().update_eval_epoch_metrics().items() if not is_array(value)}

    def log_eval_end_metrics(self, metrics: dict[str, Any]) -> None:
        super().log_eval_end_metrics({**metrics, **self.take_arrays()})

    def update_train_epoch_metrics(self) -> None:
        numbers = self.take_arrays()
        if numbers:
            self.log_metrics(numbers)
        super().update_train_epoch_metrics()

    def take_arrays(self) -> dict[str, Tensor]:
        """Hand the arrays of an epoch to `keep`. Returns the numbers in them."""
        results = self.trainer._results
        arrays = results.arrays_of_epoch() if isinstance(results, ResultCollection) else {}
        return self.keep(self.trainer, arrays) if arrays and self.keep is not None else {}

    def end_step(self, values: StepValues) -> None:
        """Note the values of a step that has ended. `read_step` must follow before the loop's values are others."""
        self.unread, self.kinds_read = values, frozenset()

    def read_step(self) -> None:
        """Copy the values of the last step that has ended."""
        values, self.unread = self.unread, None
        if values is None:
            return
        metrics = values.results.metrics_of(values)
        for name, kind in SHOWN.items():
            if kind not in self.kinds_read:
                getattr(self, name).update(metrics[kind])

    def look_up(self, kind: str) -> None:
        """Note that the values of the running step are shown, which may not have ended."""
        if self.unread is not None and self.unread.results is self.trainer._results:
            self.kinds_read |= {kind}

    @property
    def callback_metrics(self) -> dict[str, Tensor]:
        """The values that callbacks see."""
        self.look_up("callback")
        return super().callback_metrics

    @property
    def logged_metrics(self) -> dict[str, Tensor]:
        """The values that loggers are given."""
        self.look_up("log")
        return super().logged_metrics

    def epoch_end_reached(self) -> None:
        """Note the end of an epoch; what is read from now on are its values."""
        self.read_step()
        super().epoch_end_reached()

    @property
    def progress_bar_metrics(self) -> dict[str, float]:
        """The values that the progress bar shows."""
        results: Any = self.trainer._results
        if not results or self._first_loop_iter is None:
            return super().progress_bar_metrics
        self.look_up("pbar")
        # the base class computes the values of loggers and callbacks, too, at each refresh of the bar
        self._progress_bar_metrics.update(results.shown_of_step())
        return self._progress_bar_metrics

    def begin_log(self, hook: str) -> None:
        """Reset the values of a hook that logs for the first time in an epoch, as `LightningModule.log` does."""
        results = self.trainer._results
        if results is not None and self.should_reset_tensors(hook):
            results.reset(metrics=False, fx=hook)
        self._current_fx = hook


def logger_connector(trainer: pl.Trainer) -> LoggerConnector:
    """Return the connector of a trainer in which ours is installed."""
    return cast(LoggerConnector, trainer._logger_connector)


class StepValues(NamedTuple):
    """The values of a step, beside the items of a loop that had them."""

    results: ResultCollection
    items: list[tuple[_ResultMetric, Any]]


class ResultCollection(_ResultCollection):
    """The values logged in one loop, converted when callbacks and loggers read them."""

    def __init__(self, training: bool, convert: Callable[[Tensor], Tensor]) -> None:
        super().__init__(training)
        # of values of a subclass of `Tensor` that have no graph
        self.convert = convert
        # the only items whose values are looked up, while `metrics_of` does; None for all
        self.of_step: list[_ResultMetric] | None = None

    def _get_cache(self, result_metric: _ResultMetric, on_step: bool) -> Tensor | None:  # type: ignore[override]
        if not result_metric.is_tensor and self.computes_several(result_metric, on_step):
            return None
        value = _ResultCollection._get_cache(result_metric, on_step)
        if value is None or type(value) is Tensor or result_metric.meta.enable_graph:
            return value
        return self.convert(value)

    def values_of_step(self, items: Sequence[_ResultMetric]) -> StepValues:
        """Return what these items have of a step that has ended, for `metrics_of`."""
        loader = self.dataloader_idx
        return StepValues(self, [
            (item, item._forward_cache) for item in items if not item.has_reset and item.meta.dataloader_idx == loader
        ])  # fmt: skip

    def metrics_of(self, values: StepValues) -> Any:
        """Return the values of a step for callbacks, loggers and the progress bar, as they were when it ended."""
        # a next step that failed, or was skipped, may have logged since
        since = [item._forward_cache for item, _ in values.items]
        self.of_step = [item for item, _ in values.items]
        for item, value in values.items:
            item._forward_cache = value
        try:
            return self.metrics(on_step=True)
        finally:
            self.of_step = None
            for (item, _), value in zip(values.items, since, strict=True):
                item._forward_cache = value

    def valid_items(self) -> Iterator[tuple[str, _ResultMetric]]:  # type: ignore[override]
        """Yield the items whose values are looked up."""
        return super().valid_items() if self.of_step is None else (("", item) for item in self.of_step)

    @staticmethod
    def computes_several(item: _ResultMetric, on_step: bool) -> bool:
        """Return whether a metric's value is no tensor, but a tuple, a list or a dict, which Lightning refuses."""
        if on_step:
            value = item._forward_cache if item.meta.on_step else None
        elif item.meta.on_epoch:
            # as Lightning's own: `compute` may change whether the value is reduced over processes
            should = item.meta.sync.should
            value = item.compute()
            item.meta.sync.should = should
        else:
            value = None
        return isinstance(value, (tuple, list, Mapping))

    def arrays_of_epoch(self) -> dict[str, object]:
        """Return the values of the epoch's metrics that are no numbers, by the names they are logged under."""
        items = [item for item in self.values() if not (item.is_tensor or item.has_reset) and item.meta.on_epoch]
        return {self._forked_name(item, False)[1]: item._computed for item in items if is_array(item._computed)}

    def shown_of_step(self) -> dict[str, float]:
        """Return the values of the running step that the progress bar shows, as numbers."""
        shown = {}
        for _, item in self.valid_items():
            value = self._get_cache(item, on_step=True) if item.meta.prog_bar else None
            if isinstance(value, Tensor):
                shown[self._forked_name(item, True)[1]] = convert_tensors_to_scalars(value)
        return shown

    def find(self, hook: str, name: str) -> LoggedValue | None:
        """Return the value that was logged under a name in a hook; None if it takes Lightning's way at each call."""
        key = f"{hook}.{name}" if self.dataloader_idx is None else f"{hook}.{name}.{self.dataloader_idx}"
        item = self.get(key)
        # a graph would be cut by `add_tensor`; a value that is reduced over processes is exchanged at each call
        if item is None or item.meta.enable_graph or item.meta.sync.should:
            return None
        return LoggedValue(self, key, hook, item)


class LoggedValue:
    """A value that `self.log` has logged, to which another step adds with the same arguments."""

    __slots__ = ("hook", "item", "key", "loader", "results")

    def __init__(self, results: ResultCollection, key: str, hook: str, item: _ResultMetric) -> None:
        self.results, self.key, self.item, self.hook = results, key, item, hook
        self.loader = results.dataloader_idx

    @property
    def is_current(self) -> bool:
        """True if the loop still collects this value, for the dataloader that it was logged for."""
        results = self.results
        return results.get(self.key) is self.item and results.dataloader_idx == self.loader

    @property
    def needs_number(self) -> bool:
        """True if a value is needed as a number in each step, and not only where a step's values are read."""
        return bool(self.item.meta.on_epoch)

    def add_metric(self, metric: Metric, batch_value: object) -> bool:
        """Log a metric object and its value for the batch. Returns False, with nothing done, if it is another one."""
        item = self.item
        if item.is_tensor or metric is not item.value:
            return False
        item._forward_cache = batch_value
        self.note_update()
        return True

    def add_unread(self, value: Tensor) -> bool:
        """Log a value of this step alone that is computed when it is read."""
        item = self.item
        if not item.is_tensor:
            return False
        item._forward_cache = item.value = value
        self.note_update()
        return True

    def add_number(self, number: float, device: torch.device, batch_size: int | None) -> bool:
        """Log a number. Returns False, with nothing done, where Lightning has to do it."""
        dtype = torch.get_default_dtype()
        return dtype in REDUCED and self.accumulate(torch.tensor(number, device=device, dtype=dtype), batch_size)

    def add_tensor(self, value: Tensor, batch_size: int | None) -> bool:
        """Log a tensor. Returns False, with nothing done, where Lightning has to do it."""
        if value.dtype not in REDUCED or value.numel() != 1:
            return False
        value = value.detach().clone()  # the user's code may change its own in place
        return self.accumulate(value.squeeze() if value.ndim else value, batch_size)

    def accumulate(self, value: Tensor, batch_size: int | None) -> bool:
        """Add a value that has the type and shape that it is kept with; returns as `add_tensor`."""
        item, meta = self.item, self.item.meta
        if not item.is_tensor or value.device != item.value.device:
            return False
        self.note_update()
        if meta.on_step:
            item._forward_cache = value
            if not meta.on_epoch:
                item.value = value
                return True
        # Lightning's operations in Lightning's order: grouped otherwise, floating-point sums have other bits
        if meta.is_mean_reduction:
            # for means alone: where nobody has said the size, this searches the batch
            size = self.results._extract_batch_size(item, batch_size, meta)
            item.value = item.value + value * size
            item.cumulated_batch_size = item.cumulated_batch_size + size
        elif meta.is_sum_reduction:
            item.value = item.value + value
        else:
            item.value = meta.reduce_fx(item.value, value)
        return True

    def note_update(self) -> None:
        item = self.item
        # `_ResultMetric` caches what it computed, and is asked whether it was updated
        item._computed, item._update_count, item.has_reset = None, item._update_count + 1, False
