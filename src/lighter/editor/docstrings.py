"""The texts of a target and its arguments, read from docstrings in Google's, NumPy's and reST's style.

It reads what a person would see at a glance, and leaves out what it cannot read.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence

from lighter.config.problems import shortened

MOST = 500  # characters of a text
_HEADINGS = "Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments|Other Parameters"
_SECTION = re.compile(rf"({_HEADINGS}):\s*\Z")
_UNDERLINED = re.compile(rf"({_HEADINGS})\s*\Z")
# `name: text`, `name (type, optional): text`; a type may have brackets of its own.
_ENTRY = re.compile(r"[*`]*(?P<names>\w+(?:`?, ?[*`]*\w+)*)`*\s*(?:\((?:[^()]|\([^()]*\))*\))?\s*:(?!:)\s*(?P<text>.*)")
_NUMPY_ENTRY = re.compile(r"\*{0,2}(?P<names>\w+(?:, ?\*{0,2}\w+)*)\s*(?::.*)?\Z")
_FIELD = re.compile(r":(?:param|parameter|arg|argument|keyword|key)(?: [^:]*?)? \*{0,2}(?P<names>\w+):\s*(?P<text>.*)")
_ROLE = re.compile(r":[\w:.+-]+:`(?:[^`<]*<)?[~!]?([^`>]+)>?`")

Entry = tuple[str, str]  # the name of an argument and its text


def summary(target: object) -> str:
    """Return the first paragraph of a target's own docstring; empty where it has none."""
    text = vars(target).get("__doc__") if isinstance(target, type) else getattr(target, "__doc__", None)
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text)) if isinstance(text, str) else []
    # Functions written in C begin with their signature.
    own = [each for each in paragraphs if not re.match(r"[\w.]+\(", each)]
    return _plain(own[0].splitlines()) if own and not _is_heading(own[0]) else ""


def argument_texts(target: object) -> dict[str, str]:
    """Return the text of each argument that a docstring explains: of a class, those of its bases too."""
    texts: dict[str, str] = {}
    for text in _docstrings(target):
        for name, entry in _entries(inspect.cleandoc(text).splitlines()):
            if entry:
                texts.setdefault(name, entry)
    return texts


def _docstrings(target: object) -> Iterator[str]:
    owners = target.__mro__[:-1] if isinstance(target, type) else (target,)
    for owner in owners:
        own = vars(owner) if isinstance(owner, type) else {"__doc__": getattr(owner, "__doc__", None)}
        for text in (own.get("__doc__"), getattr(own.get("__init__"), "__doc__", None)):
            if isinstance(text, str):
                yield text


def _is_heading(paragraph: str) -> bool:
    return _SECTION.match(paragraph.splitlines()[0].strip()) is not None


def _entries(lines: Sequence[str]) -> Iterator[Entry]:
    for number, line in enumerate(lines):
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if _SECTION.match(line.strip()):
            yield from _listed(lines[number + 1 :], _ENTRY, least=_indent(line) + 1)
        elif _UNDERLINED.match(line.strip()) and following and not following.strip("-"):
            yield from _listed(lines[number + 2 :], _NUMPY_ENTRY, least=_indent(line))
        elif field := _FIELD.match(line.strip()):
            more = _deeper(lines[number + 1 :], _indent(line))
            yield field["names"], _plain([field["text"], *more])


def _listed(lines: Sequence[str], pattern: re.Pattern[str], least: int) -> Iterator[Entry]:
    """Yield the entries of a section: all begin where the first one does."""
    column = next((_indent(line) for line in lines if line.strip()), -1)
    if column < least:
        return
    for number, line in enumerate(lines):
        if line.strip() and _indent(line) < column:
            return
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if pattern is _NUMPY_ENTRY and line.strip() and following and not following.strip("-"):
            return  # the heading of the next section
        entry = pattern.match(line.strip()) if _indent(line) == column else None
        if entry is not None:
            text = _plain([entry.groupdict().get("text") or "", *_deeper(lines[number + 1 :], column)])
            yield from ((name.strip(" *`"), text) for name in entry["names"].split(","))


def _deeper(lines: Sequence[str], column: int) -> Iterator[str]:
    """Yield the lines up to the end of the first paragraph that goes on below an entry."""
    has_text = False
    for line in lines:
        if (line.strip() and _indent(line) <= column) or (has_text and not line.strip()):
            return
        has_text = has_text or bool(line.strip())
        yield line


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _plain(lines: Sequence[str]) -> str:
    # A directive of reST begins what is no sentence: a formula, a version.
    kept = []
    for line in lines:
        if line.strip().startswith(".. "):
            break
        kept.append(line.strip())
    text = _ROLE.sub(r"`\1`", " ".join(filter(None, kept))).replace("``", "`")
    return shortened(text, MOST)
