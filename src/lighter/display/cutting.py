"""Shorten texts to a width in columns of a terminal."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

DOTS = "..."


def width_of(text: str) -> int:
    """Return the columns that a text takes on a terminal, where letters of East Asia take two."""
    return max(map(cell_len, text.split("\n")))


def cut_in_the_middle(text: str, width: int) -> str:
    """Return a text, or its two ends with dots between them: both ends of a path or an id tell it from others."""
    if cell_len(text) <= width:
        return text
    if width <= len(DOTS):
        return DOTS[:width]
    head = (width - len(DOTS) + 1) // 2
    tail = width - len(DOTS) - head
    end = text[len(text) - tail :] if tail else ""
    while cell_len(end) > tail:
        end = end[1:]
    return f"{set_cell_size(text, head)}{DOTS}{end}"


def thinned(bars: str, width: int) -> str:
    """Return as many of a curve's bars as fit, evenly spaced, with both of its ends."""
    if len(bars) <= width:
        return bars
    last = max(width - 1, 1)
    return "".join(bars[round(index * (len(bars) - 1) / last)] for index in range(width))


def printable(text: str) -> str:
    """Return a text whose control characters are spelled out: a terminal would obey them."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
