"""The config as a tree in which every value knows where it was written.

A `Node` holds a scalar, a dict of nodes or a list of nodes, and its `Origin`. Loading, merging, overriding,
checking and dumping all work on nodes; of plain data, `config.plain_definitions`, objects are made.
Only `config.merge` changes nodes, and only those of the tree that is being put together; once `config.load` has
returned a tree, each stage makes the next one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

SEPARATOR = "::"
COMMAND_LINE = "command line"
MAX_DEPTH = 100
SPECIAL = ("_target_", "_args_", "_mode_", "_disabled_")
"""Keys of a definition that are no arguments."""
MODES = ("default", "callable", "debug")
"""Values of `_mode_`: make an object, a partial, or an object under the debugger."""


@dataclass(frozen=True)
class Source:
    """A text that config values come from: a file, a word of the command line, or data from Python.

    `name` is the path as the user gave it, "command line" or "Python"; paths in the text are relative to `folder`, and
    `number` counts the texts of this process, for the order of problems. `is_unread` is a file of which no line is
    meant, mostly since it cannot be read.
    """

    name: str
    text: str = field(default="", repr=False)
    folder: Path = field(default_factory=Path.cwd)
    is_file: bool = False
    is_unread: bool = False
    number: int = field(default_factory=itertools.count().__next__, repr=False, compare=False)

    @property
    def is_override(self) -> bool:
        return self.name == COMMAND_LINE and not self.is_file

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()


class Origin(NamedTuple):
    """A place in a source; line and column count from 1, columns in characters."""

    source: Source
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}" if self.source.is_file else self.source.name


class Node:
    """A value of the config with its origin, and the origin of its key where it has one."""

    __slots__ = ("key_origin", "origin", "value")

    def __init__(self, value: Any, origin: Origin, key_origin: Origin | None = None) -> None:
        self.value = value
        self.origin = origin
        self.key_origin = key_origin

    def __repr__(self) -> str:
        return f"Node({self.plain()!r}, {self.origin})"

    @property
    def place(self) -> Origin:
        """The origin of its key, if it has one, or of the value."""
        return self.key_origin or self.origin

    def children(self) -> Iterable[tuple[Any, Node]]:
        """Return the items of a dict or list with their keys or indices; nothing of a scalar."""
        if isinstance(self.value, dict):
            return self.value.items()
        return enumerate(self.value) if isinstance(self.value, list) else ()

    def copy(self) -> Node:
        value = self.value
        if isinstance(value, dict):
            value = {key: node.copy() for key, node in value.items()}
        elif isinstance(value, list):
            value = [node.copy() for node in value]
        return Node(value, self.origin, self.key_origin)

    def plain(self) -> Any:
        """Return the value as dicts, lists and scalars, all of them new."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, step: str) -> Node | None:
        """Return the node one step of a path below this one; keys compare by their text, list items by index."""
        node: Node | None = None
        if isinstance(self.value, dict):
            node = self.value.get(same_key(self.value, step))
        elif isinstance(self.value, list) and is_index(step) and -len(self.value) <= int(step) < len(self.value):
            node = self.value[int(step)]
        return node

    def section(self, key: str) -> dict[Any, Node]:
        """Return what one child holds, if that is a dict; otherwise nothing."""
        node = self.child(key)
        return node.value if node is not None and isinstance(node.value, dict) else {}

    def find(self, path: str) -> Node | None:
        """Return the node at `a::b::0`, or None; the empty path is this node."""
        node: Node | None = self
        for step in split(path):
            if node is None:
                return None
            node = node.child(step)
        return node

    def walk(self, path: str = "") -> Iterator[tuple[str, Node]]:
        """Yield the node and all below it, each with its path."""
        yield path, self
        if isinstance(self.value, (dict, list)):  # nearly all values are scalars: no further call for them
            for key, node in self.children():
                yield from node.walk(join(path, key))

    def steps(self) -> list[str]:
        """Return what may come next in a path below this node."""
        return [str(key) for key, _ in self.children()]


def split(path: str) -> list[str]:
    return path.split(SEPARATOR) if path else []


def join(path: str, key: object) -> str:
    return f"{path}{SEPARATOR}{key}" if path else str(key)


def prefixes(path: str) -> list[str]:
    """Return a path and those of all that it is in."""
    steps = split(path)
    return [SEPARATOR.join(steps[: count + 1]) for count in range(len(steps))]


def is_index(step: str) -> bool:
    """Return whether a step can be an index into a list."""
    digits = step.removeprefix("-")
    # More digits than an index can have: Python refuses to read thousands of them.
    return digits.isdecimal() and len(digits) < 19


def same_key(data: Mapping[Any, Any], step: str) -> Any:
    """Return the key of a dict that a step names: keys compare by their text, so `1` finds 1 and `True` finds true."""
    if step in data:
        return step
    if step in _BOOLEANS:
        return _BOOLEANS[step] if _BOOLEANS[step] in data else step
    if is_index(step):
        return int(step)
    try:
        number = float(step)
    except ValueError:
        return step
    # Any other is the key that it would be in a file.
    return number if number in data else step


def is_target(value: object) -> bool:
    """Return whether a value of a node, or plain data, defines an object (`_target_: a.b.C`)."""
    return isinstance(value, dict) and "_target_" in value


def disabled(definition: Any) -> bool | None:
    """Return whether `_disabled_` takes an object out of the config; None if that is worked out later."""
    if not is_target(definition) or "_disabled_" not in definition:
        return False
    written = definition["_disabled_"]
    switch = written.value if isinstance(written, Node) else written
    if is_reference(switch):
        return None
    return switch.strip().lower() == "true" if isinstance(switch, str) else bool(switch)


def is_reference(value: object) -> bool:
    """Return whether a value stands for another one: `@a::b`, `%a::b`, or an expression."""
    return isinstance(value, str) and value[:1] in ("@", "%", "$")


_BOOLEANS = {"True": True, "False": False}
