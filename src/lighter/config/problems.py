"""What is wrong with a config, and how it is shown: the place, the excerpt with a caret, the nearest right thing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from lighter.config.tree import Origin

_WIDEST_EXCERPT = 110


@dataclass(frozen=True)
class Problem:
    """One mistake in a config or on the command line.

    Attributes:
        message: what was found, and what is expected.
        origin: where it was written; None where it was not written at all.
        path: the config path, `a::b::0`; empty for the whole config.
        hint: what to do: the nearest right spelling, or an example.
    """

    message: str
    origin: Origin | None = None
    path: str = ""
    hint: str = ""

    def __str__(self) -> str:
        head = ": ".join(part for part in (str(self.origin or ""), self.path) if part)
        lines = [f"{head}: {self.message}" if head else self.message]
        if self.origin is not None:
            lines += excerpt(self.origin)
        lines += [f"  {line}" for line in self.hint.splitlines()]
        return "\n".join(lines)


def excerpt(origin: Origin) -> list[str]:
    """The line of an origin with a caret under its column; nothing for data from Python."""
    text = origin.source.text.splitlines()
    if not 0 < origin.line <= len(text):
        return []
    line, column = text[origin.line - 1].replace("\t", " "), origin.column
    if column > _WIDEST_EXCERPT // 2 and len(line) > _WIDEST_EXCERPT:
        cut = column - _WIDEST_EXCERPT // 2
        line, column = "..." + line[cut + 3 :], column - cut
    if len(line) > _WIDEST_EXCERPT:
        line = line[: _WIDEST_EXCERPT - 3] + "..."
    number = f"{origin.line:>5}" if origin.source.is_file else " " * 5
    return [f"{number} | {line}", f"{'':5} | {' ' * (column - 1)}^"]


def nearest(found: object, allowed: Iterable[object]) -> str:
    """A sentence with the closest allowed spelling, or with all that is allowed where none is close."""
    choices = [str(choice) for choice in allowed]
    close = get_close_matches(str(found), choices, n=1, cutoff=0.6)
    if close:
        return f"Did you mean `{close[0]}`?"
    if not choices:
        return ""
    shown = ", ".join(choices[:12]) + (", ..." if len(choices) > 12 else "")
    return f"There is: {shown}."


def indefinite(value: object) -> str:
    """How messages name what was found: a type that YAML knows, with the value where it is short."""
    names = {dict: "a dict", list: "a list", type(None): "null"}
    if type(value) in names:
        return names[type(value)]
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
