"""Expressions and references of a config that only compute, worked out: nothing is called or imported."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from lighter.config.expression import absolute
from lighter.config.references import copied_paths
from lighter.config.safe.arithmetic import Arithmetic
from lighter.config.safe.mode import RefusedError
from lighter.config.safe.work import Work
from lighter.config.tree import MAX_DEPTH, Node, is_target, join, prefixes

_FAILURES = (RefusedError, ArithmeticError, TypeError, ValueError, LookupError, RecursionError)


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
            with suppress(*_FAILURES):  # what fails here fails when it runs too, with a message
                return _as_node(_Values(root).of(node, path), node)
        value = node.value
        if isinstance(value, dict):
            value = {key: worked_out(child, join(path, key), in_copied) for key, child in value.items()}
        elif isinstance(value, list):
            value = [worked_out(child, join(path, index), in_copied) for index, child in enumerate(value)]
        return Node(value, node.origin, node.key_origin)

    return worked_out(root, "", False)


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
