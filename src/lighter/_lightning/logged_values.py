"""The values that `self.log` collects in a loop, and the connector that hands them to loggers and callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.connectors.logger_connector.logger_connector import _LoggerConnector
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection, _ResultMetric
from torch import Tensor

LoggerConnector = _LoggerConnector


def logger_connector(trainer: pl.Trainer) -> LoggerConnector:
    """Return the connector that hands logged values to loggers, callbacks and the progress bar."""
    return trainer._logger_connector


class ResultCollection(_ResultCollection):
    """The values logged in one loop, converted when callbacks and loggers read them.

    Args:
        training: whether it is the training loop.
        convert: is applied to values of a subclass of `Tensor` that have no graph.
    """

    def __init__(self, training: bool, convert: Callable[[Tensor], Tensor]) -> None:
        super().__init__(training)
        self.convert = convert

    def _get_cache(self, result_metric: _ResultMetric, on_step: bool) -> Tensor | None:  # type: ignore[override]
        value = _ResultCollection._get_cache(result_metric, on_step)
        if value is None or type(value) is Tensor or result_metric.meta.enable_graph:
            return value
        return self.convert(value)


class StepLog:
    """The part of Lightning's logger connector that a step needs, for the values logged in one loop."""

    def __init__(self, trainer: pl.Trainer, results: _ResultCollection) -> None:
        self.connector, self.results = trainer._logger_connector, results
        self.seen, self.has_step_values = 0, False

    def begin(self, batch: Any, dataloader_idx: int | None = None) -> None:
        """Begin a step."""
        connector, results = self.connector, self.results
        connector._first_loop_iter = connector._first_loop_iter is None
        results.batch, results.batch_size, results.dataloader_idx = batch, None, dataloader_idx

    def end(self) -> bool:
        """End a step. Returns whether the loggers may have to be given values of it.

        Lightning builds three dictionaries at each step's end to see whether any logged value is one of steps. A value
        never changes from one of epochs to one of steps, and none is ever taken out, so only new ones are looked at.
        """
        results = self.results
        if self.seen != len(results):
            self.seen = len(results)
            self.has_step_values = any(value.meta.on_step for value in results.values())
        if self.has_step_values:
            self.connector.on_batch_end()
        results.batch = results.batch_size = None
        return self.has_step_values
