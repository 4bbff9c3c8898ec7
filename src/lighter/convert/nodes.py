"""Nodes that no source has, for what a conversion adds."""

from __future__ import annotations

from typing import Any

from lighter.config.problems import Problem, indefinite
from lighter.config.tree import Node, Origin, Source
from lighter.errors import ConfigError

_ADDED = Origin(Source("lighter convert"))


def added(value: Any) -> Node:
    """Return a node of a conversion's own. Its origin is no file, so that no comment is taken for its own."""
    return Node(value, _ADDED)


def is_added(origin: Origin) -> bool:
    return origin is _ADDED


def below(node: Node, value: Any) -> Node:
    """Return a node with another value, at the same place."""
    return Node(value, node.origin, node.key_origin)


def dict_of(node: Node | None, path: str) -> dict[Any, Node]:
    """Return the content of a section, empty if it is null; raise a `ConfigError` where it is no dict."""
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        raise ConfigError([Problem(f"this is a dict; found {indefinite(node.value)}", node.origin, path)])
    return node.value


def called_later(definition: dict[Any, Node]) -> dict[Any, Node]:
    """Return a definition that is not called, but passed on as a function."""
    return {"_target_": definition["_target_"], "_mode_": added("callable"), **definition}
