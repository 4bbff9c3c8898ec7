"""Problems of a config, and how they are shown: the place, the excerpt with a caret, the nearest right thing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from lighter.config.tree import Origin
from lighter.errors import ConfigError

ERROR, WARNING = "error", "warning"
MAX_PROBLEMS = 100
_WIDEST_EXCERPT = 110
_WIDEST_LINE = 400
_MOST_LINES = 15
_MOST_COMPARED = 300
_UNSHOWABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


@dataclass(frozen=True)
class Problem:
    """One mistake in a config or on the command line.

    `origin` is None and `path` empty where it is of no single place. `hint` is the nearest right spelling, or an
    example; the severity `warning` is for what is legal, but slow or wrong.
    """

    message: str
    origin: Origin | None = None
    path: str = ""
    hint: str = ""
    severity: str = ERROR

    def __str__(self) -> str:
        # Whatever text is in a config is shown here: not too many lines, none of them long, and nothing that a terminal
        # would act on.
        head = ": ".join(piece for piece in (str(self.origin or ""), self.path) if piece)
        message = self.message if self.severity == ERROR else f"{self.severity}: {self.message}"
        lines = [f"{head}: {message}" if head else message]
        if self.origin is not None:
            lines += excerpt(self.origin)
        lines += [f"  {line}" for line in self.hint.splitlines()]
        text = "\n".join("\n".join(lines).split("\n")[:_MOST_LINES])
        return "\n".join(shortened(_UNSHOWABLE.sub("\ufffd", line), _WIDEST_LINE) for line in text.split("\n"))


class Problems(list[Problem]):
    """A list that problems are gathered in; when there are very many, it raises those it has."""

    def append(self, problem: Problem, /) -> None:
        """Add a problem that is not there yet; at the hundredth, raise them all as a `ConfigError`."""
        if problem in self:
            return
        super().append(problem)
        if len(self) >= MAX_PROBLEMS:
            raise ConfigError([*self, AND_MORE])


AND_MORE = Problem(f"these are the first {MAX_PROBLEMS} problems; there may be more")


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Problems by their place in each text; the files in the order in which they were read, then the command line."""

    def place(problem: Problem) -> tuple[int, int, int, int]:
        if problem.origin is None:
            return (2 if problem is AND_MORE else 0, -1, 0, 0)
        source, line, column = problem.origin
        return (int(source.is_override), source.number, line, column)

    return sorted(problems, key=place)


def excerpt(origin: Origin) -> list[str]:
    """Return the line of an origin with a caret under its column; nothing for data from Python."""
    text = origin.source.lines
    if not 0 < origin.line <= len(text):
        return []
    line, column = text[origin.line - 1], origin.column
    if column > _WIDEST_EXCERPT // 2 and len(line) > _WIDEST_EXCERPT:
        cut = column - _WIDEST_EXCERPT // 2
        line, column = "..." + line[cut + 3 :], column - cut
    line = shortened(_UNSHOWABLE.sub("\ufffd", line.replace("\t", " ")), _WIDEST_EXCERPT)
    number = f"{origin.line:>5}" if origin.source.is_file else " " * 5
    return [f"{number} | {line}", f"{'':5} | {' ' * _cells(line[: column - 1])}{' ' * (column - 1 - len(line))}^"]


def nearest(written: object, allowed: Iterable[object]) -> str:
    """Return a sentence with the closest allowed spelling, or with all that is allowed where none is close."""
    choices = [str(choice) for choice in allowed]
    close = close_to(written, choices)
    if close is not None:
        return f"Did you mean `{close}`?"
    if not choices:
        return ""
    shown = ", ".join(shortened(choice, 60) for choice in choices[:12]) + (", ..." if len(choices) > 12 else "")
    return f"There is: {shown}."


def closest(written: object, allowed: Iterable[object]) -> str:
    """Return the sentence of `nearest` where something is close; otherwise nothing."""
    close = close_to(written, [str(choice) for choice in allowed])
    return f"Did you mean `{close}`?" if close is not None else ""


def close_to(written: object, choices: Sequence[str], cutoff: float = 0.6) -> str | None:
    """Return the closest of some spellings, if one is close. Of very many, some that begin alike are compared."""
    wrong = shortened(str(written), 200)
    # Another case is closer than any other letter.
    for choice in choices:
        if choice.lower() == wrong.lower():
            return choice
    # `difflib` compares in quadratic time, and a config may have thousands of keys.
    alike = [choice for choice in choices if abs(len(choice) - len(wrong)) <= max(3, len(wrong) // 2)]
    alike.sort(key=lambda choice: choice[:1] != wrong[:1])
    close = get_close_matches(wrong, alike[:_MOST_COMPARED], n=1, cutoff=cutoff)
    return close[0] if close else None


def indefinite(value: object) -> str:
    """Return how messages name what was found: a type that YAML knows, or the value, shortened."""
    names = {dict: "a dict", list: "a list", type(None): "null", bool: str(value).lower()}
    return names[type(value)] if type(value) in names else shortened(repr(value), 60)


def shortened(text: str, width: int) -> str:
    """Return a text, or its beginning with dots."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _cells(text: str) -> int:
    # The caret goes by columns of the terminal: letters of East Asia take two, combining marks none.
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )
