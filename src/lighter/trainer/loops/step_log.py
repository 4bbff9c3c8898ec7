"""What Lightning's `self.log` has to be told at the start and at the end of a step."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection, _ResultMetric
from torch import Tensor

from lighter.parts.plain_tensors import plain_tensor


class PlainResults(_ResultCollection):
    """The values logged in one loop, which callbacks and loggers get as plain tensors, whatever was logged.

    Callbacks copy, print and save them, which not all classes of tensors can. `_get_cache` is private: it is what reads
    a value, of a tensor or of a metric, for all of them.
    """

    @staticmethod
    def _get_cache(result_metric: _ResultMetric, on_step: bool) -> Tensor | None:
        value = _ResultCollection._get_cache(result_metric, on_step)
        if value is None or type(value) is Tensor or result_metric.meta.enable_graph:
            return value
        return plain_tensor(value)


class StepLog:
    """The part of Lightning's logger connector that a step needs, for the values logged in one loop.

    `_first_loop_iter`, and `batch`, `batch_size` and `dataloader_idx` of the results, are private to Lightning's
    loops, which these lines stand in for.
    """

    def __init__(self, trainer: Any, results: Any) -> None:
        self._connector, self._results = trainer._logger_connector, results
        self._seen, self._has_step_values = 0, False

    def begin(self, batch: Any, dataloader_idx: int | None = None) -> None:
        """A step begins."""
        connector, results = self._connector, self._results
        connector._first_loop_iter = connector._first_loop_iter is None
        results.batch, results.batch_size, results.dataloader_idx = batch, None, dataloader_idx

    def end(self) -> bool:
        """The step is over. Returns whether the loggers may have to be given values of it.

        Lightning builds three dictionaries at each step's end to see whether any logged value is one of steps. A value
        never changes from one of epochs to one of steps, and none is ever taken out, so only new ones are looked at.
        """
        results = self._results
        if self._seen != len(results):
            self._seen = len(results)
            self._has_step_values = any(value.meta.on_step for value in results.values())
        if self._has_step_values:
            self._connector.on_batch_end()
        results.batch = results.batch_size = None
        return self._has_step_values
