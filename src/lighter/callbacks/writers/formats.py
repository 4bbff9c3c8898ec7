"""CSV as rows of bytes: the rows of a batch, and a file of the rows of all parts."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lighter.callbacks.writers.samples import cells

ROW_END = b"\r\n"
_WRITES_NUL = sys.version_info >= (3, 11)
_NUL = "\udfff\udffe\udfff"  # stands for it in Python 3.10, whose `csv` refuses it; no text has three such halves


class Format(Protocol):
    """The form of rows in a file.

    Attributes:
        suffix: of the file while it grows, if that has another form than the whole one; None otherwise.
    """

    suffix: str | None

    def header(self, columns: Mapping[str, Any] | None) -> bytes:
        """Return the bytes before the rows, from the first batch, or from None if there is none."""

    def encode(self, columns: Mapping[str, Any], header: bytes) -> bytes:
        """Return the rows of a batch as bytes."""

    def split(self, data: bytes, count: int) -> Sequence[Any]:
        """Return the rows of a batch, one by one, from the bytes of `encode`."""

    def write(self, path: Path, header: bytes, rows: Iterable[Any]) -> None:
        """Write the whole file, from the rows of `split`."""


class CsvFormat:
    """CSV as RFC 4180 has it: UTF-8, commas, rows that end with CR LF, quotes if needed; see `Format`.

    Numbers are written so that they read back exactly, text as it is. A sample's value that is a list or a dict, or a
    tensor with dimensions, is JSON in its cell. None is an empty cell, as is empty text.
    """

    suffix: str | None = None

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = list(keys)

    def header(self, columns: Mapping[str, Any] | None) -> bytes:
        return _lines([self.keys])

    def encode(self, columns: Mapping[str, Any], header: bytes) -> bytes:
        return _lines(zip(*(_texts(cells(values)) for values in columns.values()), strict=True))

    def split(self, data: bytes, count: int) -> list[bytes]:
        rows, row, quotes = [], b"", 0
        for line in data.split(ROW_END)[:-1]:
            row += line + ROW_END
            quotes += line.count(b'"')
            if quotes % 2 == 0:  # otherwise the line end is between quotes, and part of the row
                rows.append(row)
                row, quotes = b"", 0
        return rows

    def write(self, path: Path, header: bytes, rows: Iterable[bytes]) -> None:
        with open(path, "wb", buffering=1 << 20) as file:
            file.write(header)
            file.writelines(rows)


class _Lines(list[str]):
    """The target of `csv.writer`."""

    write = list.append


def _lines(rows: Iterable[Sequence[Any]]) -> bytes:
    if not _WRITES_NUL:
        rows = ([value.replace("\0", _NUL) if isinstance(value, str) else value for value in row] for row in rows)
    lines = _Lines()
    csv.writer(lines).writerows(rows)
    text = "".join(lines)
    # text that is no Unicode, half of a surrogate pair say, goes through as it is and reads back with "surrogatepass"
    return (text if _WRITES_NUL else text.replace(_NUL, "\0")).encode("utf-8", "surrogatepass")


def _texts(values: list[Any]) -> list[Any]:
    if not {*map(type, values)} & {list, dict}:  # as most columns are
        return values
    return [json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value for value in values]
