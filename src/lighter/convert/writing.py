"""The YAML text of a converted tree, with the comments of its sources at their values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import yaml as pyyaml

from lighter.config import yaml
from lighter.config.tree import Node, Origin, Source

_IN_FLOW = re.compile(r"[\w./+-]+( [\w./+-]+)*\Z")
_WIDTH = 100
_COMMENT = re.compile("#.*")
_PACKAGE = re.compile("# *@package")


class Comments:
    """The comments of the sources, each of which is written once, at the value that it stands at."""

    def __init__(self) -> None:
        self._of: dict[Source, tuple[dict[int, list[str]], dict[int, str]]] = {}

    def take(self, origin: Origin | None) -> tuple[list[str], str]:
        """Return the comment lines above the line of an origin, and the comment at its end; only the first time."""
        if origin is None or not origin.source.is_file:
            return [], ""
        above, beside = self._in(origin.source)
        return above.pop(origin.line, []), beside.pop(origin.line, "")

    def take_header(self, source: Source) -> list[str]:
        """Return the comment lines that a source begins with."""
        above, _ = self._in(source)
        lines = list(takewhile(lambda line: line.startswith("#"), source.text.lstrip().splitlines()))
        block = above.get(min(above, default=0), [])
        title = [line.rstrip() for line in lines] if block[: len(lines)] == [line.rstrip() for line in lines] else []
        del block[: len(title)]
        return title

    def _in(self, source: Source) -> tuple[dict[int, list[str]], dict[int, str]]:
        if source not in self._of:
            self._of[source] = _comments(source.text)
        return self._of[source]


def _comments(text: str) -> tuple[dict[int, list[str]], dict[int, str]]:
    """Return the comments above each line that has a value, and those beside values, by line.

    A comment at the end of a block, indented deeper than what follows, is above nothing.
    """
    above: dict[int, list[str]] = {}
    beside: dict[int, str] = {}
    waiting: list[tuple[int, str]] = []
    end, line = 0, 0
    for token in pyyaml.scan(text, Loader=pyyaml.SafeLoader):
        start = token.start_mark
        for column, comment, is_beside in _comments_in(text[end : start.index], text, end):
            if is_beside and line:
                beside[line] = comment
            elif not _PACKAGE.match(comment):
                waiting.append((column, comment))
        if token.end_mark.index > start.index:
            lines = [comment for column, comment in waiting if column <= start.column]
            if lines:
                above[start.line + 1] = lines
            waiting = []
            line = token.end_mark.line + 1
        end = max(end, token.end_mark.index)
    return above, beside


def _comments_in(gap: str, text: str, begin: int) -> Iterator[tuple[int, str, bool]]:
    """Yield the comments between two tokens with their columns; True for one in the line of the first token."""
    for match in _COMMENT.finditer(gap):
        at = begin + match.start()
        yield at - text.rfind("\n", 0, at) - 1, match[0].rstrip(), "\n" not in gap[: match.start()]


def text_of(tree: Node, head: list[str], first: str = "") -> str:
    """Return the YAML of a tree below some comment lines, a blank line before each section.

    `first` is the name of the source whose first comment is about the whole.
    """
    comments = Comments()
    sources = [node.origin.source for _, node in tree.walk() if node.origin.source.name == first]
    title = comments.take_header(sources[0]) if sources else []
    text = "".join(f"{line}\n" for line in [*head, "", *title, *([""] if title else [])])
    for key, node in tree.value.items():
        lines = [*_entry(key, node, comments)]
        text += "\n" * (len(lines) > 1 and not text.endswith("\n\n")) + "\n".join(lines) + "\n"
    return text.lstrip("\n")


def _entry(key: Any, node: Node, comments: Comments) -> Iterator[str]:
    above, beside = comments.take(node.key_origin)
    name = yaml.dump({key: None}).removesuffix(" null\n")
    if name.startswith("? "):  # a key that YAML's writer puts into lines of its own: long, or with line breaks
        name = f"{json.dumps(key, ensure_ascii=False)}:"
    lines = _inline(node)
    yield from above
    if lines is not None:
        yield from _joined(f"{name} ", lines, beside or comments.take(node.origin)[1])
    else:
        yield from _joined(name, ["", *_block(node, comments)], beside)


def _block(node: Node, comments: Comments) -> Iterator[str]:
    for key, child in node.children():
        yield from _entry(key, child, comments) if isinstance(node.value, dict) else _item(child, comments)


def _item(item: Node, comments: Comments) -> Iterator[str]:
    above, beside = comments.take(item.origin)
    lines = _inline(item) or [*_block(item, comments)]
    while lines[0].startswith("#"):
        above.append(lines.pop(0))
    yield from above
    yield from _joined("- ", lines, beside)


def _joined(begin: str, lines: list[str], comment: str) -> Iterator[str]:
    """Yield the lines after what begins the first one, the others indented; the comment at the end of the first."""
    yield begin + lines[0] + (f"  {comment}" if comment and not _is_open(lines[0]) else "")
    yield from (f"  {line}" if line else "" for line in lines[1:])


def _is_open(line: str) -> bool:
    """Return whether a text in quotes goes on in the next line."""
    return line[:1] in ("'", '"') and (len(line) == 1 or line[-1] != line[0])


def _inline(node: Node) -> list[str] | None:
    """Return the lines of a scalar, or the one of a short list; None for what is written as a block."""
    if not isinstance(node.value, (dict, list)):
        return _scalar(node.value)
    text = _flow(node)
    return None if text is None else [text]


def _scalar(value: Any) -> list[str]:
    """Return a scalar's lines; only a text with line breaks has several."""
    lines: list[str] = yaml.dump([value]).removeprefix("- ").rstrip("\n").split("\n")
    return [lines[0], *(line.strip() for line in lines[1:])]


def _flow(node: Node) -> str | None:
    """Return a list of scalars, or what is empty, in one line; None for others, and for long lists."""
    if not node.value:
        return "{}" if isinstance(node.value, dict) else "[]"
    if isinstance(node.value, dict):
        return None
    items = [_flow_item(child) for child in node.value]
    text = f"[{', '.join(item for item in items if item is not None)}]"
    return text if None not in items and len(text) <= _WIDTH else None


def _flow_item(node: Node) -> str | None:
    if isinstance(node.value, list):
        return _flow(node)
    if isinstance(node.value, dict):
        return None if node.value else "{}"
    text = " ".join(_scalar(node.value))
    is_quoted = text[:1] in "'\"" and "\n" not in str(node.value)
    return text if is_quoted or not isinstance(node.value, str) or _IN_FLOW.match(text) else None
