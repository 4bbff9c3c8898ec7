"""What Lightning's `self.log` has to be told at the start and at the end of a step."""

from __future__ import annotations

from typing import Any


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
