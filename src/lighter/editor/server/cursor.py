"""The key or value that is being typed at the cursor, and its place in the config.

The text need be no YAML yet. A word is put in place of what is typed, and what follows is cut off and closed if that
makes it YAML; then Lighter's own reader says where the word stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lighter.config import yaml
from lighter.config.problems import Problems
from lighter.config.tree import SEPARATOR, Node, Source, split
from lighter.editor.server.places import Place
from lighter.errors import ConfigError

_WORD = "lighter0cursor0word"
_CLOSING = {"{": "}", "[": "]"}
_REST = re.compile(r"[\w.:=~@%$+-]*")


@dataclass(frozen=True)
class Cursor:
    """The key or value at the cursor.

    Attributes:
        typed: its text up to the cursor, without a quote before it.
        whole: its whole text, within its quotes; `span` has the columns of it.
        quote: the quote that it stands in; empty without.
        path: of a value, its own path; of a key, that of the dict that it is in.
        holder: the dict that it is in, as written; None for an item of a list.
        has_value: whether a key has a `:` after it.
        top: the tree of the file, with a word in place of what is typed.
    """

    typed: str
    whole: str
    span: tuple[int, int]
    quote: str
    is_key: bool
    path: str
    holder: Node | None
    has_value: bool
    top: Node

    @property
    def key(self) -> str:
        """The last step of a value's path."""
        return self.path.rpartition(SEPARATOR)[2]

    @property
    def above(self) -> str:
        """The path of the dict or list that the key or value is in."""
        return self.path if self.is_key else self.path.rpartition(SEPARATOR)[0]


@dataclass
class _Scan:
    """The state of YAML at a place: brackets that are open, and where the key or value there begins."""

    open: list[str]
    start: int  # of the text
    quote: str = ""
    is_comment: bool = False
    expects: bool = True  # whether a key or value may begin here

    def read(self, sign: str, following: str, index: int) -> None:
        """Take in one sign that is neither of a comment nor a quote."""
        if sign in "{[" and (self.expects or self.open):
            self.open.append(sign)
            self.begin(index + 1)
        elif sign in "}]" and self.open:
            self.open.pop()
            self.expects = False
        elif sign == "\n" or (sign == "," and self.open) or self._begins_another(sign, following):
            self.begin(index + 1)
        elif not sign.isspace():
            self.expects = False

    def _begins_another(self, sign: str, following: str) -> bool:
        return following in (" ", "\n", "") and (sign == ":" or (sign in "-?" and self.expects))

    def begin(self, index: int) -> None:
        self.start, self.expects = index, True


def cursor_at(text: str, place: Place) -> Cursor | None:
    """Return what is typed at a place; None in a comment, or where the text before it is too far from YAML."""
    lines = text.split("\n")
    if place.line >= len(lines):
        return None
    line_start = sum(len(line) + 1 for line in lines[: place.line])
    at = line_start + min(place.column, len(lines[place.line]))
    scan = _scanned(text[:at], line_start)
    if scan.is_comment:
        return None
    line_end = line_start + len(lines[place.line])
    rest = text[at:line_end]
    end = at + (_in_quotes(rest, scan.quote) if scan.quote else len(_rest(rest)))
    after = text[end:line_end].removeprefix(scan.quote)
    has_value = bool(re.match(r"\s*:(\s|$)", after))
    lead = text[line_start : scan.start - len(scan.quote)].rstrip()
    for is_key in _kinds(lead, text[scan.start : at], scan, has_value=has_value):
        for tried in _repaired(text, scan, end, is_key=is_key, has_value=has_value):
            found = _found(tried, is_key=is_key)
            if found is not None:
                top, path, holder = found
                span = (scan.start - line_start, end - line_start)
                return Cursor(
                    text[scan.start : at],
                    text[scan.start : end],
                    span,
                    scan.quote,
                    is_key,
                    path,
                    holder,
                    has_value,
                    top,
                )
    return None


def _rest(rest: str) -> str:
    match = _REST.match(rest)
    word = match[0] if match is not None else ""
    # the `:` after a key is none of its own
    return word.rstrip(":") if not re.match(r"\S", rest[len(word) :]) or word.endswith(":") else word


def _in_quotes(rest: str, quote: str) -> int:
    closing = rest.find(quote)
    return closing if closing >= 0 else len(rest.rstrip(" \t,]}"))


def _scanned(before: str, line_start: int) -> _Scan:
    """Read the text before the cursor, sign by sign."""
    scan, index = _Scan([], 0), 0
    while index < len(before) and not scan.is_comment:
        sign, following = before[index], before[index + 1 : index + 2]
        if sign == "#" and (index == 0 or before[index - 1].isspace()):
            end = before.find("\n", index)
            scan.is_comment, index = end < 0, end
            continue
        if sign in "'\"" and scan.expects:
            closed = _closed(before, index)
            if closed < 0:
                scan.start, scan.quote = index + 1, sign
                return scan
            scan.expects, index = False, closed
        else:
            # the second of `::` begins no value, though nothing may follow it yet
            scan.read(sign, ":" if before[index - 1 : index] == ":" else following, index)
        index += 1
    blank = len(before) - len(before[scan.start :].lstrip(" \t"))
    scan.start = max(blank, line_start) if before[scan.start :].strip() else len(before)
    return scan


def _closed(text: str, start: int) -> int:
    """Return where the quote that opens at an index is closed; -1 where it is not, or not before the next key."""
    quote, index = text[start], start + 1
    while index < len(text):
        if text[index] == "\\" and quote == '"':
            index += 2
            continue
        if text[index] == quote:
            if quote == "'" and text[index + 1 : index + 2] == "'":
                index += 2
                continue
            return index
        index += 1
    return -1


def _kinds(lead: str, typed: str, scan: _Scan, *, has_value: bool) -> Iterator[bool]:
    """Yield whether a key is at the cursor, by what stands before it in its line: the likelier answer first."""
    is_item = bool(scan.open) and scan.open[-1] == "["
    if not has_value and (is_item or lead.endswith(":")):
        yield False
    elif lead.endswith("-") and not has_value:
        yield from (False, True) if scan.quote or typed[:1] in ("@", "%", "$") else (True, False)
    else:
        yield True


def _repaired(text: str, scan: _Scan, end: int, *, is_key: bool, has_value: bool) -> Iterator[str]:
    """Yield texts that may be YAML, with the word at the cursor: first the whole text, then what is before it."""
    word = _WORD + scan.quote if not is_key or has_value else f"{_WORD}{scan.quote}:"
    before, after = text[: scan.start], text[end:]
    if scan.quote and after.startswith(scan.quote):
        after = after[1:]
    pad = " " if before.endswith((":", "-", ",")) else ""
    yield f"{before}{pad}{word} {after}" if is_key and not has_value else f"{before}{pad}{word}{after}"
    closing = "".join(_CLOSING[sign] for sign in reversed(scan.open))
    value = ":" if is_key and has_value else ""
    yield f"{before}{pad}{word}{value} {closing}\n"


def _found(text: str, *, is_key: bool) -> tuple[Node, str, Node | None] | None:
    try:
        top = yaml.parse(Source("cursor", text, Path()), Problems())
    except ConfigError:  # a hundred keys that are written twice
        return None
    for path, node in top.walk() if top is not None else ():
        if is_key and isinstance(node.value, dict) and _WORD in node.value:
            return (top, written_path(path), node) if top is not None else None
        if not is_key and isinstance(node.value, str) and node.value == _WORD and top is not None:
            holder = top.find(path.rpartition(SEPARATOR)[0])
            is_dict = holder is not None and isinstance(holder.value, dict)
            return top, written_path(path), holder if is_dict else None
    return None


def written_path(path: str) -> str:
    """Return the path that keys of a file stand for: those with operators, and those that are paths, too."""
    return SEPARATOR.join(step.lstrip("=~") for step in split(path))
