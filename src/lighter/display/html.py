"""Draw pieces as HTML for notebooks: plain tables in the notebook's own colours, light or dark."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from lighter.display.table import Cell, Column, Line, Piece, Table

_STYLES = {
    "bold": "font-weight:600",
    "dim": "opacity:.65",
    # seen on white and on black
    "good": "color:#2a9d4a",
    "bad": "color:#e0483e",
    "warning": "color:#b5820a",
    "active": "color:#3b82f6",
}
_TABLE = "border-collapse:collapse;margin:.5em 0;font-size:inherit;font-variant-numeric:tabular-nums"
_CELL = "padding:.15em 1.2em .15em 0;vertical-align:top"


def to_html(pieces: Sequence[Piece | None]) -> str:
    """Return pieces below each other as HTML; all of their texts are escaped."""
    drawn = (_line(piece) if isinstance(piece, Line) else _table(piece) for piece in pieces if piece is not None)
    return f'<div class="lighter">{"".join(drawn)}</div>'


def _line(line: Line) -> str:
    tag = "pre" if line.is_command else "div"
    text = re.sub("`([^`]+)`", r"<code>\1</code>", _text(line.text))
    return f"<{tag}{_attribute(line.style)}>{text or '<br>'}</{tag}>"


def _table(table: Table) -> str:
    parts = [f"<caption>{escape(table.title)}</caption>"] if table.title else []
    if table.has_header:
        heads = (f"<th{_aligned(column)}>{escape(column.name)}</th>" for column in table.columns)
        parts.append(f"<thead><tr>{''.join(heads)}</tr></thead>")
    parts.append(f"<tbody>{''.join(_rows(table))}</tbody>")
    return f'<table style="{_TABLE}">{"".join(parts)}</table>'


def _rows(table: Table) -> Iterator[str]:
    for row in table.cells():
        spans = [1] * (len(row) - 1) + [len(table.columns) - len(row) + 1]
        cells = zip(table.columns, row, spans, strict=False)
        yield f"<tr>{''.join(_cell(column, cell, span) for column, cell, span in cells)}</tr>"


def _cell(column: Column, cell: Cell, span: int) -> str:
    if span == 1:
        return f"<td{_aligned(column, cell.style)}>{_text(cell.text)}</td>"
    return f'<td colspan="{span}"{_aligned(Column(), cell.style)}>{_text(cell.text)}</td>'


def _aligned(column: Column, style: str = "") -> str:
    side = "right" if column.is_number else "left"
    return f' style="{";".join(filter(None, (_CELL, f"text-align:{side}", _STYLES.get(style))))}"'


def _attribute(style: str) -> str:
    return f' style="{_STYLES[style]}"' if style in _STYLES else ""


def _text(text: str) -> str:
    return escape(text).replace("\n", "<br>")
