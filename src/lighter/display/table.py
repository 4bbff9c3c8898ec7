"""A table, or a line of text, as plain values: what is shown, without how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from lighter.display.cutting import cut_in_the_middle

STYLES = ("", "bold", "dim", "good", "bad", "warning", "active")
STYLE_OF_STATUS = {
    "running": "active",
    "finished": "good",
    "failed": "bad",
    "lost": "bad",
    "interrupted": "warning",
    "pending": "dim",
    "requeued": "dim",
    "stopped": "warning",
    "waiting": "dim",
}


@dataclass(frozen=True)
class Cell:
    """A text, perhaps of several lines, and one of `STYLES`."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Column:
    """A column, and what may happen to it where the table is too wide.

    Attributes:
        is_number: its cells are aligned to the right.
        least: its cells may be cut down to this width; None if they are never cut: numbers, ids, commands.
        cut: how they are cut.
        rank: columns of the highest rank are left out first; those of rank 0 never.
        wraps: its cells are broken between words; for the last column alone.
    """

    name: str = ""
    is_number: bool = False
    least: int | None = None
    cut: Callable[[str, int], str] = cut_in_the_middle
    rank: int = 0
    wraps: bool = False


@dataclass(frozen=True)
class Table:
    """Columns and rows of cells. The last cell of a row with less cells spans the columns that are left."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell | str]] = field(default_factory=list)
    title: str = ""

    def cells(self) -> list[list[Cell]]:
        return [[each if isinstance(each, Cell) else Cell(each) for each in row] for row in self.rows]

    @property
    def has_header(self) -> bool:
        return any(column.name for column in self.columns)

    def without(self, index: int) -> Table:
        """Return the table without one of its columns."""
        at_end = len(self.columns) - 1

        def kept(row: Sequence[Cell | str]) -> list[Cell | str]:
            return [each for place, each in enumerate(row) if place != index or place == len(row) - 1 < at_end]

        columns = [each for place, each in enumerate(self.columns) if place != index]
        return replace(self, columns=columns, rows=[kept(row) for row in self.rows])


@dataclass(frozen=True)
class Line:
    """A text between tables.

    Attributes:
        is_command: it is to be copied, so it is not broken over lines.
        is_close: it belongs to the table above, so no empty line is between them.
    """

    text: str
    style: str = ""
    is_command: bool = False
    is_close: bool = False


Piece: TypeAlias = "Table | Line"


def status(text: str, reason: str = "") -> Cell:
    return Cell(f"{text} ({reason})" if reason else text, STYLE_OF_STATUS.get(text, ""))


def pairs(values: Sequence[tuple[str, str | Cell]]) -> Table:
    """Return a table of names and what they stand for, without those that stand for nothing."""
    kept = [(name, value) for name, value in values if (value.text if isinstance(value, Cell) else value)]
    return Table((Column(), Column(wraps=True)), [(Cell(name, "dim"), value) for name, value in kept])
