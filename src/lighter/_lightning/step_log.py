"""The beginning and the end of a step in Lightning's logger connector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytorch_lightning as pl

from lighter._lightning.logged_values import LoggedItem, ResultCollection, logger_connector


class StepLog:
    """The part of Lightning's logger connector that a step needs, for the values logged in one loop."""

    def __init__(self, trainer: pl.Trainer, results: ResultCollection) -> None:
        self.connector, self.results = logger_connector(trainer), results
        self.seen, self.of_steps = 0, list[LoggedItem]()

    def begin(self, batch: Any, dataloader_idx: int | None = None) -> None:
        connector, results = self.connector, self.results
        # None before an epoch's first batch, True in it, False after it: as Lightning's `on_batch_start`
        connector._first_loop_iter = connector._first_loop_iter is None
        results.batch, results.batch_size, results.dataloader_idx = batch, None, dataloader_idx

    def end(self) -> bool:
        """End a step. Returns whether the loggers may have to be given values of it."""
        results = self.results
        # Lightning builds three dictionaries at each step's end to see whether any value is one of steps. A value never
        # changes from one of epochs to one of steps, and none is ever taken out: only new ones are looked at.
        if self.seen != len(results):
            self.seen = len(results)
            self.of_steps = [item for item in results.values() if item.meta.on_step]
        if self.of_steps:
            self.connector.end_step(results.values_of_step(self.of_steps))
        # as Lightning does: the results would keep the batch's memory until the next one
        results.batch = results.batch_size = None
        return bool(self.of_steps)


@contextmanager
def read_step_on_error(trainer: pl.Trainer) -> Iterator[None]:
    """Copy the values of the last step that has ended for whoever handles an error."""
    try:
        yield
    except BaseException:
        # an error of a metric is not to replace this one
        with suppress(Exception):
            logger_connector(trainer).read_step()
        raise
