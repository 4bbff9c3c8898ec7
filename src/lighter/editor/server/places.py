"""Ranges of a text, from the places of problems and nodes. Lines and columns count characters from 0 here."""

from __future__ import annotations

import re
from typing import NamedTuple

# A quoted text as far as it goes in its line, a text without quotes, or one sign.
_QUOTED = re.compile(r"'(?:[^']|'')*'?|\"(?:[^\"\\]|\\.)*\"?")
_IN_FLOW = re.compile(r"[^,\[\]{}]*?(?=\s*(?:[,\[\]{}]|:(?:\s|$)|\s#|$))")
_IN_BLOCK = re.compile(r".*?(?=\s*(?::(?:\s|$)|\s#|$))")
_WHOLE = re.compile(r".*?(?=\s*$)")


class Place(NamedTuple):
    """A line and a column, in characters from 0."""

    line: int
    column: int


class Span(NamedTuple):
    """A range within one line."""

    line: int
    start: int
    end: int

    def has(self, place: Place) -> bool:
        return self.line == place.line and self.start <= place.column <= self.end


def token_at(lines: list[str], line: int, column: int) -> Span:
    """Return the range of the key or value that begins at a place: to its end, or that of its line."""
    text = lines[line] if 0 <= line < len(lines) else ""
    column = min(column, len(text))
    first = text[column : column + 1]
    if first in ("'", '"'):
        match = _QUOTED.match(text, column)
    elif first in ("{", "["):
        match = _WHOLE.match(text, column)
    else:
        opened = sum(text[:column].count(sign) for sign in "{[") > sum(text[:column].count(sign) for sign in "}]")
        match = (_IN_FLOW if opened else _IN_BLOCK).match(text, column)
    end = match.end() if match is not None else len(text)
    return Span(line, column, end if end > column else min(column + 1, max(len(text), column)))


def unquoted(token: str) -> str:
    """Return a key or value without its quotes."""
    return token[1:-1] if len(token) > 1 and token[0] in "'\"" and token[-1] == token[0] else token.lstrip("'\"")
