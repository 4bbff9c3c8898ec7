"""The merged config as YAML that runs the same again, with the origin of each value beside it if asked."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from lighter.config import yaml
from lighter.config.problems import Problem
from lighter.config.tree import Node, Origin, Source


def dump(tree: Node, *, origins: bool = False) -> str:
    """Return the YAML of a tree. Origins are comments: `lr: 0.01  # base.yaml:12`."""
    text = yaml.dump(tree.plain())
    if not origins:
        return text
    # Only the text itself tells in which line the YAML library has put each value.
    problems: list[Problem] = []
    written = yaml.parse(Source("", text), problems)
    # A tree with live objects has any text in it.
    if written is None or problems:
        return text
    lines = text.split("\n")
    starts = sorted({place.line for _, node in written.walk() for place in (node.origin, node.key_origin) if place})
    ends = dict(pairwise([*starts, len(lines)]))
    for leaf, node in zip(_leaves(written), _leaves(tree), strict=True):
        # A text of several lines ends before the next value begins.
        line = ends[leaf.origin.line] - 1
        lines[line - 1] += f"  # {short(node.origin)}"
    return "\n".join(lines)


def _leaves(node: Node) -> Iterator[Node]:
    for _, child in node.children():
        yield from _leaves(child)
    # An empty dict or list stands in a line of its own: `{}`.
    if not (isinstance(node.value, (dict, list)) and node.value):
        yield node


def short(origin: Origin) -> str:
    """Return an origin without its column; a word of the command line as it was given."""
    if origin.source.is_file:
        return f"{origin.source.name}:{origin.line}"
    return f"{origin.source.name}: {origin.source.text}" if origin.source.is_override else origin.source.name
