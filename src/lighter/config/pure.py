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
    copied = copied_paths(root)  # where a relative reference means something else than in the copies
    above = {prefix for path in copied for prefix in prefixes(path)}

    def worked_out(node: Node, path: str, in_copied: bool) -> Node:
        in_copied = in_copied or path in copied
        value = node.value
        if isinstance(value, dict):
            value = {key: worked_out(child, join(path, key), in_copied) for key, child in value.items()}
        elif isinstance(value, list):
            value = [worked_out(child, join(path, index), in_copied) for index, child in enumerate(value)]
        elif (
            isinstance(value, str)
            and value[:1] in ("@", "$")
            and not ((in_copied or path in above) and re.search(r"[@%]::", value))
        ):
            with suppress(*_FAILURES):  # what fails here fails when it runs too, with a message
                return _as_node(_value(root, node, path, Work()), node)
        return Node(value, node.origin, node.key_origin)

    return worked_out(root, "", False)


def _value(root: Node, node: Node, path: str, work: Work, depth: int = 0) -> Any:
    """Return the value of a node, lists and dicts included; `depth` counts the references and the nesting to it."""

    def referred(target: str) -> Any:
        named = root.find(target)
        if named is None:
            raise LookupError(target)
        return _value(root, named, target, work, depth + 1)

    work.spend()
    value = node.value
    if depth > MAX_DEPTH or is_target(value) or (isinstance(value, str) and value[:1] == "%"):
        raise RefusedError("it is no value")
    if isinstance(value, dict):
        return {key: _value(root, child, join(path, key), work, depth + 1) for key, child in value.items()}
    if isinstance(value, list):
        return [_value(root, child, join(path, index), work, depth + 1) for index, child in enumerate(value)]
    if not isinstance(value, str) or value[:1] not in ("@", "$"):
        return value
    text = absolute(path, value).strip()
    return referred(text[1:]) if text[0] == "@" else Arithmetic(referred, work).evaluate(text[1:])


def _as_node(value: Any, written: Node) -> Node:
    """Return a plain value in the place of what it was worked out from."""
    if isinstance(value, dict):
        value = {key: _as_node(child, written) for key, child in value.items()}
    elif isinstance(value, (list, tuple)):
        value = [_as_node(child, written) for child in value]
    elif not isinstance(value, (bool, int, float, str, type(None))):
        raise RefusedError("it is no plain value")
    return Node(value, written.origin, written.key_origin)
