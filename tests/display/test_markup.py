"""Tables as HTML, Markdown, LaTeX and CSV: every text is escaped."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from lighter.display.html import to_html
from lighter.display.markup import latex, markdown, of_latex, to_csv
from lighter.display.table import Cell, Column, Line, Table

HOSTILE = '<img src=x onerror=alert(1)> & "quotes" | `code` *star* \\ % $ # _ { } ~ ^ [x](y)'
TABLE = Table(
    [Column("na|me"), Column("value", is_number=True)], [[Cell("heading")], [HOSTILE, Cell("1.0 ± 0.1", "bold")]]
)


class Texts(HTMLParser):
    """Tags and texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_html_has_no_tag_of_a_text() -> None:
    parsed = Texts(to_html([Line(HOSTILE), TABLE, None, Line("a\nb", is_command=True)]))
    assert HOSTILE in parsed.texts  # of the table; in a line, what is between backticks is code
    assert "code" in parsed.texts
    assert set(parsed.tags) == {"div", "table", "thead", "tbody", "tr", "th", "td", "pre", "br", "code"}


def test_markdown() -> None:
    head, rule, row = markdown(TABLE).splitlines()
    assert head == r"| na\|me | value |"
    assert rule == "| --- | ---: |"
    assert row.endswith("| **1.0 ± 0.1** |")
    assert row.replace(r"\|", "").count("|") == 3
    assert r"\<img" in row


def test_latex() -> None:
    lines = latex(TABLE, ["a note\nof two lines"]).splitlines()
    assert lines[:3] == ["% \\usepackage{booktabs}", "% a note", "% of two lines"]
    assert lines[3:5] == [r"\begin{tabular}{lr}", r"\toprule"]
    assert lines[-3].endswith(r"& \textbf{1.0 $\pm$ 0.1} \\")
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]


@pytest.mark.parametrize("sign", "&%$#_{}")
def test_latex_prints_special_signs(sign: str) -> None:
    assert of_latex(f"a{sign}b") == f"a\\{sign}b"


def test_latex_braces_are_balanced() -> None:
    text = of_latex(HOSTILE).replace(r"\{", "").replace(r"\}", "")
    assert text.count("{") == text.count("}")
    assert of_latex("a\\b~^") == r"a\textbackslash{}b\textasciitilde{}\textasciicircum{}"


def test_latex_of_negative_numbers() -> None:
    assert of_latex("-0.1 to -0.02, 2026-11-22, a-1, 1e-05") == "$-$0.1 to $-$0.02, 2026-11-22, a-1, 1e-05"


def test_csv() -> None:
    assert to_csv(["a", "b"], [['x, "y"', None], [1, 2.5]]) == 'a,b\n"x, ""y""",\n1,2.5'
