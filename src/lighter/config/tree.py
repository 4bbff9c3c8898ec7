"""The config as a tree in which every value knows where it was written.

A `Node` holds a scalar, a dict of nodes or a list of nodes, and its `Origin`. Loading, merging, overriding,
checking and dumping all work on nodes; only `config.objects` turns them into plain data for sparkwheel.
Nodes are never changed once they are part of a tree that was returned: each stage makes the next tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEPARATOR = "::"


@dataclass(frozen=True)
class Source:
    """A text that config values come from: a file, a word of the command line, or data from Python.

    Attributes:
        name: how messages call it: the path as the user gave it, "command line", "Python".
        text: the whole text, for excerpts.
        folder: what relative paths in this text are relative to.
    """

    name: str
    text: str = field(default="", repr=False)
    folder: Path = field(default_factory=Path.cwd)
    is_file: bool = False


@dataclass(frozen=True)
class Origin:
    """A place in a source; line and column count from 1."""

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

    def plain(self) -> Any:
        """The value as dicts, lists and scalars, all of them new."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, step: str) -> Node | None:
        """The node one step of a path below this one; keys compare by their text, list items by index."""
        if isinstance(self.value, dict):
            if step in self.value:
                return self.value[step]
            return next((node for key, node in self.value.items() if str(key) == step), None)
        if isinstance(self.value, list) and is_index(step) and -len(self.value) <= int(step) < len(self.value):
            return self.value[int(step)]
        return None

    def find(self, path: str) -> Node | None:
        """The node at `a::b::0`, or None; the empty path is this node."""
        node: Node | None = self
        for step in split(path):
            if node is None:
                return None
            node = node.child(step)
        return node

    def walk(self, path: str = "") -> Iterator[tuple[str, Node]]:
        """This node and all below it, each with its path."""
        yield path, self
        if isinstance(self.value, dict):
            items: Iterator[tuple[Any, Node]] = iter(self.value.items())
        elif isinstance(self.value, list):
            items = iter(enumerate(self.value))
        else:
            return
        for key, node in items:
            yield from node.walk(join(path, key))

    def steps(self) -> list[str]:
        """What may come next in a path below this node."""
        if isinstance(self.value, dict):
            return [str(key) for key in self.value]
        if isinstance(self.value, list):
            return [str(index) for index in range(len(self.value))]
        return []


def split(path: str) -> list[str]:
    """The steps of a path: `a::b::0` is a, b, 0."""
    return path.split(SEPARATOR) if path else []


def join(path: str, key: Any) -> str:
    """The path one step further."""
    return f"{path}{SEPARATOR}{key}" if path else str(key)


def is_index(step: str) -> bool:
    """Whether a step can be an index into a list."""
    return step.removeprefix("-").isdigit()


def is_target(value: Any) -> bool:
    """Whether a value of a node, or plain data, defines an object (`_target_: a.b.C`)."""
    return isinstance(value, dict) and "_target_" in value


def from_plain(data: Any, origin: Origin) -> Node:
    """A tree from dicts, lists and scalars, all of one origin."""
    if isinstance(data, dict):
        return Node({key: from_plain(value, origin) for key, value in data.items()}, origin)
    if isinstance(data, (list, tuple)):
        return Node([from_plain(value, origin) for value in data], origin)
    return Node(data, origin)
