"""Gaps of a conversion: a place, what was found there and what to write."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from lighter.config.problems import shortened
from lighter.config.tree import Node, Origin
from lighter.convert.nodes import is_added

PLACEHOLDER = "WRITE.THE.CLASS"
"""Stands for a class that only the source's script names."""


@dataclass(frozen=True)
class Gap:
    """A value of the source that means something else now, or nothing.

    `path` is the place in the source's words. With `is_open`, something is left to write by hand; otherwise it is a
    note on what was left out or replaced.
    """

    found: str
    write: str
    origin: Origin | None = None
    path: str = ""
    is_open: bool = True

    def __str__(self) -> str:
        head = ": ".join(text for text in (str(self.origin or ""), self.path, self.found) if text)
        return f"{_one_line(head)}\n  {_one_line(self.write)}"


def _one_line(text: str) -> str:
    # The source's text may hold anything; a comment of YAML, and a terminal, may not.
    return shortened("".join(letter if letter.isprintable() else "\ufffd" for letter in text), 400)


class Gaps(list[Gap]):
    """The gaps of a conversion, in the order in which they were found."""

    def open(self, node: Node | None, path: str, found: str, write: str) -> None:
        self._add(Gap(found, write, _place(node), path))

    def note(self, node: Node | None, path: str, found: str, write: str) -> None:
        self._add(Gap(found, write, _place(node), path, is_open=False))

    def _add(self, gap: Gap) -> None:
        if gap not in self:
            self.append(gap)


def _place(node: Node | None) -> Origin | None:
    # what a conversion adds is in no file
    return None if node is None or is_added(node.place) else node.place


def as_comments(gaps: list[Gap]) -> list[str]:
    """Return gaps as comment lines of a YAML file."""
    lines = []
    for gap in gaps:
        head, *rest = str(gap).splitlines()
        lines += textwrap.wrap(head, 116, initial_indent="# - ", subsequent_indent="#   ", break_long_words=False)
        for line in rest:
            indent = "#   " + " " * (len(line) - len(line.lstrip()))
            lines += textwrap.wrap(line.strip(), 116, initial_indent=indent, subsequent_indent=indent)
    return lines


def as_data(gap: Gap) -> dict[str, object]:
    """Return a gap for programs. These fields stay; others may come."""
    return {
        "file": gap.origin.source.name if gap.origin else None,
        "line": gap.origin.line if gap.origin else None,
        "column": gap.origin.column if gap.origin else None,
        "path": gap.path or None,
        "found": gap.found,
        "write": gap.write,
        "open": gap.is_open,
    }
