"""Expressions and references of a config that only compute, worked out: nothing is called or imported."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from lighter.config.expression import absolute, absolute_if_any, referred
from lighter.config.references import copied_paths
from lighter.config.safe.arithmetic import Arithmetic
from lighter.config.safe.mode import RefusedError
from lighter.config.safe.work import Work
from lighter.config.tree import MAX_DEPTH, Node, is_target, join, prefixes

FAILURES = (RefusedError, ArithmeticError, TypeError, ValueError, LookupError, RecursionError)
"""Exceptions for a value that does more than compute, or whose computation fails."""


def resolved(root: Node) -> Node:
    """Return a merged tree in which pure expressions, and references to values, are worked out."""
    # In what is copied, a relative reference means something else than in the copies.
    copied = copied_paths(root)
    above = {prefix for path in copied for prefix in prefixes(path)}

    def worked_out(node: Node, path: str, in_copied: bool) -> Node:
        in_copied = in_copied or path in copied
        text = node.value if isinstance(node.value, str) else ""
        is_relative = (in_copied or path in above) and re.search(r"[@%]::", text)
        if text[:1] in ("@", "$") and not is_relative:
            with suppress(*FAILURES):  # what fails here fails when it runs too, with a message
                return _as_node(_Values(root).of(node, path), node)
        value = node.value
        if isinstance(value, dict):
            value = {key: worked_out(child, join(path, key), in_copied) for key, child in value.items()}
        elif isinstance(value, list):
            value = [worked_out(child, join(path, index), in_copied) for index, child in enumerate(value)]
        return Node(value, node.origin, node.key_origin)

    return worked_out(root, "", False)


def evaluate(root: Node, node: Node, path: str) -> Any:
    """Return the value of a node, as if it stood at a path of an expanded tree; raise one of `FAILURES` if it calls."""
    return _Values(root).of(node, path)


def unfolded(root: Node, path: str, above: frozenset[str] = frozenset()) -> Any:
    """Return a value of an expanded tree as it takes effect, so that two configs can be compared.

    References stand for what they lead to, and pure expressions for their value. Another expression is a list: its
    text, and what it refers to.
    """
    node = root.find(path)
    if node is None or path in above:
        return None
    value, above = node.value, above | {path}
    if isinstance(value, dict):
        return {key: unfolded(root, join(path, key), above) for key in value}
    if isinstance(value, list):
        return [unfolded(root, join(path, index), above) for index in range(len(value))]
    if not isinstance(value, str) or value[:1] not in ("@", "$"):
        return value
    with suppress(*FAILURES):
        return evaluate(root, node, path)
    named = [unfolded(root, target, above) for target in referred(absolute_if_any(path, value))]
    return named[0] if value[0] == "@" and named else [value, *named]


class _Values:
    """Work out one value and all that it refers to, each once, since `@a::b is @a::b`."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self.work = Work()
        self.known: dict[str, Any] = {}
        self.depth = 0  # of references and nesting

    def of(self, node: Node, path: str) -> Any:
        value = node.value
        self.work.spend()
        self.depth += 1
        if self.depth > MAX_DEPTH or is_target(value) or (isinstance(value, str) and value[:1] == "%"):
            raise RefusedError("it is no value")
        if isinstance(value, dict):
            value = {key: self.of(child, join(path, key)) for key, child in value.items()}
        elif isinstance(value, list):
            value = [self.of(child, join(path, index)) for index, child in enumerate(value)]
        elif isinstance(value, str) and value[:1] in ("@", "$"):
            text = absolute(path, value).strip()
            evaluate = self.reference if text[0] == "@" else Arithmetic(self.reference, self.work).evaluate
            value = evaluate(text[1:])
        self.depth -= 1
        return value

    def reference(self, path: str) -> Any:
        node = self.root.find(path)
        if node is None:
            raise LookupError(path)
        if path not in self.known:
            self.known[path] = self.of(node, path)
        return self.known[path]


def _as_node(value: Any, written: Node) -> Node:
    if isinstance(value, dict):
        value = {key: _as_node(child, written) for key, child in value.items()}
    elif isinstance(value, (list, tuple)):
        value = [_as_node(child, written) for child in value]
    elif not isinstance(value, (bool, int, float, str, type(None))):
        raise RefusedError("it is no plain value")
    return Node(value, written.origin, written.key_origin)
