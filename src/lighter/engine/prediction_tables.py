"""Tables of predictions, as the writers wrote them: read, put together, averaged, written again."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from lighter.callbacks.writers.formats import CsvFormat
from lighter.errors import PredictionError
from lighter.files.atomic import write_whole

Columns = dict[str, list[Any]]


def read_table(path: Path) -> Columns:
    """Read a CSV or Parquet file. Cells of CSV stay text."""
    return _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)


def write_table(path: Path, columns: Mapping[str, list[Any]]) -> None:
    """Write a table in the format of its name, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        _write_parquet(path, columns)
    else:
        form = CsvFormat([*columns])
        header = form.header(columns)
        write_whole(path, header + (form.encode(columns, header) if rows_of(columns) else b""))


def rows_of(columns: Mapping[str, list[Any]]) -> int:
    return len(next(iter(columns.values()), []))


def concatenated(tables: Sequence[Columns]) -> Columns:
    """Return the rows of all tables, one after another; they have the same columns."""
    _see_that_they_fit(tables)
    return {name: [value for table in tables for value in table[name]] for name in tables[0]}


def in_order(columns: Columns, by: str) -> Columns:
    order = sorted(range(rows_of(columns)), key=columns[by].__getitem__)
    return {name: [values[row] for row in order] for name, values in columns.items()}


def mean(tables: Sequence[Columns]) -> tuple[Columns, list[str]]:
    """Return the mean of tables whose rows are of the same samples, and the columns that have none.

    What is equal in all is kept. Real numbers, alone or in lists, are averaged. Texts and whole numbers that differ are
    left out: the mean of two classes is neither.
    """
    _see_that_they_fit(tables)
    if len({rows_of(table) for table in tables}) > 1:
        raise PredictionError(f"these predictions are of {[rows_of(table) for table in tables]} samples")
    averaged: Columns = {}
    for name in tables[0]:
        columns = [table[name] for table in tables]
        values = columns[0] if all(column == columns[0] for column in columns) else _mean_of(columns)
        if values is not None:
            averaged[name] = values
    return averaged, [name for name in tables[0] if name not in averaged]


def _see_that_they_fit(tables: Sequence[Columns]) -> None:
    if len({tuple(table) for table in tables}) > 1:
        raise PredictionError(f"these predictions have different columns: {[list(table) for table in tables]}")


def _mean_of(columns: Sequence[list[Any]]) -> list[Any] | None:
    numbers = [[_number(value) for value in column] for column in columns]
    flat = [leaf for column in numbers for value in column for leaf in _leaves(value)]
    if None in flat or all(isinstance(leaf, int) for leaf in flat):
        return None
    try:
        averaged: list[Any] = [
            np.mean(np.array(values, dtype=np.float64), axis=0).tolist() for values in zip(*numbers, strict=True)
        ]
    except ValueError:  # lists of several lengths
        return None
    return averaged


def _leaves(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list) else [value]


def _number(value: Any) -> Any:
    """Return a cell as a number, or a list of them; None for what is neither."""
    if isinstance(value, str):
        with suppress(ValueError):
            return int(value)
        with suppress(ValueError):
            return float(value)
        with suppress(ValueError, RecursionError):
            return _number(json.loads(value)) if value.startswith("[") else None
        return None
    if isinstance(value, list):
        return [_number(item) for item in value]
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number else None


def _read_csv(path: Path) -> Columns:
    csv.field_size_limit(sys.maxsize)
    # as the writer encodes it: half of a surrogate pair reads back
    text = path.read_bytes().decode("utf-8", "surrogatepass")
    header, *rows = csv.reader(StringIO(text, newline=""))
    return {name: [row[number] for row in rows] for number, name in enumerate(header)}


def _read_parquet(path: Path) -> Columns:
    import pyarrow.parquet as pq

    columns: Columns = pq.read_table(path).to_pydict()
    return columns


def _write_parquet(path: Path, columns: Mapping[str, list[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(columns)), sink)
    write_whole(path, sink.getvalue().to_pybytes())
