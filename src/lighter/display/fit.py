"""Fit a table to a width: heads are broken, cells cut, columns left out. Numbers, ids and commands stay whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lighter.display.cutting import cut_in_the_middle, printable, width_of
from lighter.display.table import Cell, Column, Table

GAP = "  "
_ID = re.compile(r"\d{4}-\d\d-\d\d/")


@dataclass(frozen=True)
class Fitted:
    """A table with the width of each column.

    Attributes:
        heads: the lines of each column's name.
        left_out: the names of columns that had no room.
    """

    table: Table
    widths: list[int]
    heads: list[list[str]]
    left_out: list[str]


def fit(table: Table, width: int | None) -> Fitted:
    """Return a table as it fits into so many columns of a terminal; as wide as it is for None."""
    left_out: list[str] = []
    while True:
        fitted = _cut(table, width, left_out)
        if width is None or _total(fitted.widths) <= width:
            return fitted
        index = _least_important(table.columns)
        if index is None:
            return fitted
        left_out.insert(0, table.columns[index].name)
        table = table.without(index)


def fits(table: Table, width: int | None) -> bool:
    """Return whether a table has room with all of its columns and cells; its heads may be broken for that."""
    return width is None or _total(_widths(table, [_broken(column.name) for column in table.columns])) <= width


def _cut(table: Table, width: int | None, left_out: list[str]) -> Fitted:
    heads = [[printable(column.name)] for column in table.columns]
    widths = _widths(table, heads)
    if width is not None and _total(widths) > width:
        heads = [_broken(column.name) for column in table.columns]
        widths = _widths(table, heads)
        widths = _narrowed(table.columns, widths, heads, width)
    rows = [_fitted_row(row, table.columns, widths, width) for row in table.cells()]
    return Fitted(Table(table.columns, rows, table.title), widths, heads, list(left_out))


def _fitted_row(row: Sequence[Cell], columns: Sequence[Column], widths: Sequence[int], width: int | None) -> list[Cell]:
    texts = [_fitted(cell.text, columns[at], widths[at]) for at, cell in enumerate(row)]
    if len(row) < len(columns):  # the last one spans the rest
        room = None if width is None else max(width, _total(widths)) - _total([*widths[: len(row) - 1], 0])
        text = printable(row[-1].text)
        texts[-1] = text if room is None else cut_in_the_middle(text, room)
    return [Cell(text, cell.style) for text, cell in zip(texts, row, strict=True)]


def _widths(table: Table, heads: Sequence[Sequence[str]]) -> list[int]:
    widths = [max(map(width_of, lines)) for lines in heads]
    for row in table.cells():
        for at, cell in enumerate(row if len(row) == len(table.columns) else row[:-1]):
            widths[at] = max(widths[at], *(width_of(printable(line)) for line in cell.text.split("\n")))
    return widths


def _narrowed(columns: Sequence[Column], widths: list[int], heads: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return narrower widths of columns that may be cut or wrapped, the widest of them first."""
    least = [_least(column, max(map(width_of, lines))) for column, lines in zip(columns, heads, strict=True)]
    widths = list(widths)
    while _total(widths) > width:
        room = [(widths[at], at) for at, end in enumerate(least) if end is not None and widths[at] > end]
        if not room:
            break
        widths[max(room)[1]] -= 1
    return widths


_LEAST_WRAPPED = 24


def _least(column: Column, head: int) -> int | None:
    if column.wraps:
        return _LEAST_WRAPPED
    return max(column.least, head) if column.least is not None else None


def _broken(name: str) -> list[str]:
    """Return the lines of a name that is broken after its slashes and colons, as names of metrics and paths are.

    The id of a run stays whole.
    """
    if _ID.match(name):
        return [printable(name)]
    return [part for part in re.split(r"(?<=/)|(?<=::)", printable(name)) if part] or [""]


def _fitted(text: str, column: Column, width: int) -> str:
    lines = [printable(line) for line in text.split("\n")]
    if column.wraps:
        return "\n".join(wrapped(line, width) for line in lines)
    if column.least is not None:
        return "\n".join(column.cut(line, width) for line in lines)
    return "\n".join(lines)


def wrapped(text: str, width: int) -> str:
    """Return a text with breaks between its words; a word that is wider than that stays whole."""
    if width_of(text) <= width:
        return text
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and width_of(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def _least_important(columns: Sequence[Column]) -> int | None:
    ranked = [(column.rank, at) for at, column in enumerate(columns) if column.rank > 0]
    return max(ranked)[1] if ranked else None


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * max(len(widths) - 1, 0)
