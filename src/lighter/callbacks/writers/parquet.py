"""`ParquetWriter`: typed columns, for large predictions.

A Parquet file can be read only when it is whole. So the rows so far are an Arrow stream, which can be read batch by
batch whatever happened to its end, and become the Parquet file when the prediction is over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lighter.callbacks.writers.samples import plain
from lighter.callbacks.writers.table import RowWriter
from lighter.errors import ModuleValueError, PredictionError
from lighter.parts.describe import describe

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise ModuleValueError("ParquetWriter needs pyarrow: pip install pyarrow") from error

ROW_GROUP = 65_536  # rows in memory at a time; readers skip whole groups


class ParquetWriter(RowWriter):
    """Write a Parquet file with a row for each sample, in the order of the dataset.

    The rows so far are in a file beside it, `predictions.partial.arrows`, which `pyarrow.ipc.open_stream` reads; the
    named file appears, whole, at the end. A tensor's type is its column's; of lists, the first batch decides, unless
    `keys` says it. A tensor of shape (samples, n) becomes a column of lists.

    Args:
        path: the file; see `BaseWriter`.
        keys: of the dict that `predict_step` returns: a list, or a dict with Arrow's names of types
            (`{identifier: string, pred: float32}`; null: from the first batch).

    Raises:
        ModuleTypeError: `keys` is neither a list nor a dict of names.
        ModuleValueError: a type that Arrow does not have; a repeated name; pyarrow is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], keys: Sequence[str] | Mapping[str, str | None]) -> None:
        super().__init__(path, [*keys] if isinstance(keys, Mapping) else keys)
        given = keys if isinstance(keys, Mapping) else {}
        self.format = ParquetFormat({key: _type(given.get(key), key) for key in self.keys})


class ParquetFormat:
    """Rows as an Arrow stream, and then as a Parquet file; see `Format`."""

    suffix: str | None = ".arrows"

    def __init__(self, types: Mapping[str, Any]) -> None:
        self.types = types

    def header(self, columns: Mapping[str, Any] | None) -> bytes:
        # the first batch decides, and later ones are cast to its types
        types = {
            key: kind or (pa.null() if columns is None else _array(columns[key], None, key).type)
            for key, kind in self.types.items()
        }
        return bytes(pa.schema(types).serialize())

    def encode(self, columns: Mapping[str, Any], header: bytes) -> bytes:
        """Serialize the rows of a batch as one message of the stream."""
        schema = _schema(header)
        arrays = [_array(columns[field.name], field.type, field.name) for field in schema]
        return bytes(pa.record_batch(arrays, schema=schema).serialize())

    def split(self, data: bytes, count: int) -> list[tuple[bytes, int]]:
        """Return the rows: the batch's bytes, and the row's number in it."""
        return [(data, row) for row in range(count)]

    def write(self, path: Path, header: bytes, rows: Iterable[tuple[bytes, int]]) -> None:
        schema, rows = _schema(header), iter(rows)
        with pq.ParquetWriter(path, schema) as file:
            while group := list(islice(rows, ROW_GROUP)):
                file.write_table(_gathered(group, schema), row_group_size=ROW_GROUP)


def _gathered(rows: list[tuple[bytes, int]], schema: pa.Schema) -> pa.Table:
    # a batch is decoded once, however its rows are spread: its bytes are one object for all of them
    starts: dict[int, int] = {}
    batches, count = [], 0
    for data, _ in rows:
        if id(data) not in starts:
            starts[id(data)] = count
            try:
                batches.append(pa.ipc.read_record_batch(data, schema))
            except pa.ArrowException as error:
                raise PredictionError(
                    "the processes of this prediction found different types for its columns: name them, as in"
                    f" keys: {{pred: float32}}. This one has {schema.to_string()}"
                ) from error
            count += batches[-1].num_rows
    order = np.fromiter((starts[id(data)] + row for data, row in rows), np.int64, len(rows))
    table = pa.Table.from_batches(batches, schema)
    is_all = len(rows) == count and bool((order == np.arange(count)).all())
    return (table if is_all else table.take(order)).combine_chunks()


def _schema(header: bytes) -> pa.Schema:
    return pa.ipc.read_schema(pa.BufferReader(header))


def _array(values: Any, kind: pa.DataType | None, key: str) -> Any:
    try:
        if isinstance(values, Tensor):
            values = values.numpy()
        if isinstance(values, np.ndarray) and values.dtype != object:
            array = _nested(values)
            return array if kind is None else array.cast(kind)
        return pa.array([plain(value) for value in values], type=kind)
    except (pa.ArrowException, UnicodeEncodeError, TypeError, OverflowError) as error:
        wanted = f" of the type {kind}" if kind is not None else ""
        hint = "" if isinstance(error, UnicodeEncodeError) else f" Say its type, as in keys: {{{key}: string}}"
        raise PredictionError(f"the column `{key}`{wanted} cannot hold {describe(values)}: {error}.{hint}") from error


def _nested(values: np.ndarray) -> pa.Array:
    array = pa.array(np.ascontiguousarray(values).reshape(-1))
    # from the inside out: each axis wraps the one within it in lists of its length
    for axis in range(values.ndim - 1, 0, -1):
        count = int(np.prod(values.shape[:axis]))
        array = pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * values.shape[axis], pa.int32()), array)
    return array


def _type(name: str | None, key: str) -> Any:
    if name is None:
        return None
    inner = name.removeprefix("list<").removesuffix(">")
    try:
        return pa.list_(pa.type_for_alias(inner)) if inner != name else pa.type_for_alias(name)
    except (ValueError, TypeError) as error:
        raise ModuleValueError(
            f"`keys::{key}` is a type of Arrow's, such as string, int64, float32, bool or list<float32>; found {name!r}"
        ) from error
