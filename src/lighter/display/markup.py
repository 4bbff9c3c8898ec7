"""Write tables as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from lighter.display.table import Cell, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "...": r"\ldots{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
_SPECIAL = re.compile("|".join(re.escape(sign) for sign in sorted(_LATEX, key=len, reverse=True)))


def markdown(table: Table) -> str:
    """Return a table of GitHub's Markdown; bold cells are bold."""
    heads = [_of_markdown(column.name) for column in table.columns]
    rule = ["---:" if column.is_number else "---" for column in table.columns]
    rows = [
        [f"**{_of_markdown(c.text)}**" if _is_bold(c) else _of_markdown(c.text) for c in row] for row in _rows(table)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def latex(table: Table, notes: Sequence[str] = ()) -> str:
    r"""Return a `tabular` with the rules of booktabs, and notes as comments; needs \usepackage{booktabs}."""
    kinds = "".join("r" if column.is_number else "l" for column in table.columns)
    heads = " & ".join(of_latex(column.name) for column in table.columns)
    rows = [
        " & ".join(rf"\textbf{{{of_latex(c.text)}}}" if _is_bold(c) else of_latex(c.text) for c in row)
        for row in _rows(table)
    ]
    comments = [f"% {line}" for note in (r"\usepackage{booktabs}", *notes) for line in note.split("\n")]
    body = [rf"{row} \\" for row in rows]
    begin, end = rf"\begin{{tabular}}{{{kinds}}}", r"\end{tabular}"
    return "\n".join([*comments, begin, r"\toprule", rf"{heads} \\", r"\midrule", *body, r"\bottomrule", end])


def to_csv(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows as CSV with a header, without the line break at the end."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    return text.getvalue().rstrip("\n")


def of_latex(text: str) -> str:
    """Return a text whose special characters LaTeX prints as they are."""
    escaped = _SPECIAL.sub(lambda match: _LATEX[match[0]], text.replace("\n", " "))
    return re.sub(r"(?<![\w-])-(?=[\d.])", "$-$", escaped)  # of a negative number, a minus and no hyphen


def _of_markdown(text: str) -> str:
    return re.sub(r"([\\|*`<\[\]])", r"\\\1", text.replace("\n", " "))


def _rows(table: Table) -> list[list[Cell]]:
    return [row for row in table.cells() if len(row) == len(table.columns)]


def _is_bold(cell: Cell) -> bool:
    return cell.style == "bold" and bool(cell.text)
