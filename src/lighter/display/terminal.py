"""Draw pieces on a terminal, as wide as that is; in a pipe whole, without a line that is broken."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.console import Console
from rich.text import Text

from lighter.display.cutting import printable, width_of
from lighter.display.fit import GAP, Fitted, fit, wrapped
from lighter.display.table import Cell, Line, Piece
from lighter.processes.notebook import is_notebook

_STYLES = {"active": "cyan", "good": "green", "bad": "red", "warning": "yellow"}


def show(*pieces: Piece | None, console: Console | None = None) -> None:
    """Print pieces below each other, with an empty line around each table that has others beside it."""
    console = console or stdout_console()
    for line in lines(pieces, width(console)):
        console.print(line, soft_wrap=True)


def stdout_console() -> Console:
    """Return a console of stdout; without escape codes in a pipe, a notebook, a dumb terminal, and with NO_COLOR."""
    has_colors = not os.environ.get("NO_COLOR")
    # FORCE_COLOR makes a terminal of a pipe, but one of no width, on which nothing is drawn again
    is_watched = sys.stdout is not None and sys.stdout.isatty()
    return Console(
        markup=False,
        highlight=False,
        color_system="auto" if has_colors else None,
        force_interactive=is_watched,
        # rich would make an output of each line in a notebook; without that it takes one for a terminal with colours
        force_jupyter=False,
        force_terminal=False if is_notebook() else None,
    )


def width(console: Console) -> int | None:
    """Return the width to which tables are cut: that of the terminal; none in a pipe, unless COLUMNS says one."""
    return console.width if console.is_interactive or os.environ.get("COLUMNS") else None


def drawn(pieces: Sequence[Piece | None], width: int | None) -> Text:
    """Return pieces as one text, for displays that are drawn again and again."""
    return Text("\n").join(lines(pieces, width))


def lines(pieces: Sequence[Piece | None], width: int | None) -> Iterator[Text]:
    is_first = True
    before: Piece | None = None
    for piece in pieces:
        if piece is None:
            continue
        is_close = isinstance(piece, Line) and (piece.is_close or isinstance(before, Line))
        if not is_first and not is_close:
            yield Text()
        yield from _line(piece, width) if isinstance(piece, Line) else _table(fit(piece, width))
        is_first, before = False, piece


def _line(line: Line, width: int | None) -> Iterator[Text]:
    for text in line.text.split("\n"):
        if line.is_command or width is None:
            yield Text(printable(text), style=_style(line.style))
        else:
            yield from (Text(part, style=_style(line.style)) for part in wrapped(printable(text), width).split("\n"))


def _table(fitted: Fitted) -> Iterator[Text]:
    if fitted.table.title:
        yield Text(printable(fitted.table.title), style="bold")
    if fitted.table.has_header:
        depth = max(map(len, fitted.heads))
        # the last lines of the names are beside each other
        heads = [[""] * (depth - len(lines)) + lines for lines in fitted.heads]
        for at in range(depth):
            yield _row([Cell(lines[at], "bold") for lines in heads], fitted)
    for row in fitted.table.cells():
        texts = [cell.text.split("\n") for cell in row]
        for parts in zip_longest(*texts, fillvalue=""):
            yield _row([Cell(part, cell.style) for part, cell in zip(parts, row, strict=True)], fitted)
    if fitted.left_out:
        yield Text(f"left out: {', '.join(fitted.left_out)} (a wider terminal has them)", style="dim")


def _row(cells: Sequence[Cell], fitted: Fitted) -> Text:
    row = Text()
    for cell, column, width in zip(cells, fitted.table.columns, fitted.widths, strict=False):
        padding = " " * (width - width_of(cell.text))
        row.append(padding if column.is_number else "")
        row.append(cell.text, style=_style(cell.style))
        row.append(("" if column.is_number else padding) + GAP)
    row.rstrip()
    return row


def _style(style: str) -> str:
    return _STYLES.get(style, style)
