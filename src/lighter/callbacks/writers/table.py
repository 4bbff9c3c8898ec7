"""`CsvWriter` and `TableWriter`: a row for each sample."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from lighter.callbacks.writers.base import BaseWriter
from lighter.callbacks.writers.formats import CsvFormat
from lighter.errors import ModuleTypeError, ModuleValueError
from lighter.parts.describe import describe


class RowWriter(BaseWriter):
    """A writer of a table: a row for each sample, a column for each of its keys."""

    def __init__(self, path: str | os.PathLike[str], keys: Sequence[str]) -> None:
        super().__init__(path)
        if isinstance(keys, str) or not isinstance(keys, Sequence) or not all(isinstance(key, str) for key in keys):
            raise ModuleTypeError(f"`keys` is a list of keys of what `predict_step` returns; found {describe(keys)}")
        if not keys or len(set(keys)) < len(keys):
            raise ModuleValueError(f"`keys` names each column once, and at least one; found {list(keys)}")
        self.keys = list(keys)

    def write(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        self.add_rows(self.columns(outputs, self.keys))

    def about(self) -> dict[str, Any]:
        return {**super().about(), "columns": self.keys}


class CsvWriter(RowWriter):
    """Write a CSV file with a row for each sample, in the order of the dataset.

    The rows so far are in a file beside it (`predictions.partial.csv`); the named file appears, whole, at the end.
    Text stays text and numbers read back exactly; see `CsvFormat`. With several dataloaders, the rows of the second
    follow those of the first. `keys` are those of the dict that `predict_step` returns, each with a value for every
    sample.

    Raises:
        ModuleTypeError: `keys` is not a list of names.
        ModuleValueError: `keys` is empty, or repeats a name.
    """

    def __init__(self, path: str | os.PathLike[str], keys: Sequence[str]) -> None:
        super().__init__(path, keys)
        self.format = CsvFormat(self.keys)


class TableWriter(CsvWriter):
    """A `CsvWriter` of the columns `identifier` and `pred`, for what a `System` returns."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, ["identifier", "pred"])
