"""What a config's expressions and references come to, where that is only arithmetic: nothing is called or imported.

Literals, arithmetic, comparisons, conditions, indices, and `@` references to values of the same kind. Anything else
stays as it is written. Sizes are bounded, so that no expression takes long.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lighter.config.expression import REFERENCES, absolute, syntax_tree
from lighter.config.references import copied_paths
from lighter.config.tree import MAX_DEPTH, Node, is_target, join, prefixes

_LARGEST = 2**64
_LONGEST = 10_000
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_UNARY: dict[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_}


class _ImpureError(Exception):
    """A value is none that arithmetic gives."""


def resolved(root: Node) -> Node:
    """A merged tree in which pure expressions, and references to values, are worked out."""
    copied = copied_paths(root)
    above = {prefix for path in copied for prefix in prefixes(path)}

    def worked_out(node: Node, path: str, in_copied: bool) -> Node:
        in_copied = in_copied or path in copied
        value = node.value
        if isinstance(value, dict):
            value = {key: worked_out(child, join(path, key), in_copied) for key, child in value.items()}
        elif isinstance(value, list):
            value = [worked_out(child, join(path, index), in_copied) for index, child in enumerate(value)]
        elif isinstance(value, str) and value[:1] in ("@", "$") and not _moves(value, in_copied or path in above):
            with suppress(_ImpureError):
                return _as_node(_Evaluation(root).of(node, path), node)
        return Node(value, node.origin, node.key_origin)

    return worked_out(root, "", False)


def _as_node(value: Any, written: Node) -> Node:
    """A plain value in the place of what it was worked out from."""
    if isinstance(value, dict):
        value = {key: _as_node(child, written) for key, child in value.items()}
    elif isinstance(value, list):
        value = [_as_node(child, written) for child in value]
    return Node(value, written.origin, written.key_origin)


def _moves(text: str, in_copied: bool) -> bool:
    """Whether a value would mean something else where it is copied to: its reference is relative."""
    return in_copied and bool(re.search(r"[@%]::", text))


class _Evaluation:
    """Works out one value; `depth` counts the references and the nesting on the way."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self.depth = 0

    def of(self, node: Node, path: str) -> Any:
        """The value of a node, lists and dicts included."""
        value = node.value
        self.depth += 1
        if self.depth > MAX_DEPTH or is_target(value):
            raise _ImpureError
        if isinstance(value, dict):
            value = {key: self.of(child, join(path, key)) for key, child in value.items()}
        elif isinstance(value, list):
            value = [self.of(child, join(path, index)) for index, child in enumerate(value)]
        elif isinstance(value, str) and value[:1] == "%":
            raise _ImpureError
        elif isinstance(value, str) and value[:1] in ("@", "$"):
            value = self.text(value, path)
        self.depth -= 1
        return value

    def text(self, text: str, path: str) -> Any:
        try:
            text = absolute(path, text).strip()
        except ValueError:
            raise _ImpureError from None
        if text[0] == "@":
            return self.reference(text[1:])
        try:
            return self.bounded(self.node(syntax_tree(text[1:]).body))
        except (SyntaxError, ArithmeticError, TypeError, ValueError, LookupError, RecursionError, MemoryError):
            raise _ImpureError from None  # it fails when it runs too, with a message

    def reference(self, path: str) -> Any:
        node = self.root.find(path)
        if node is None:
            raise _ImpureError
        return self.of(node, path)

    def node(self, at: ast.AST) -> Any:
        """The value of a part of an expression."""
        if isinstance(at, ast.Constant):
            return at.value
        if isinstance(at, ast.Subscript) and isinstance(at.value, ast.Name) and at.value.id == REFERENCES:
            return self.reference(ast.literal_eval(at.slice))
        if isinstance(at, (ast.List, ast.Tuple)):
            return [self.node(item) for item in at.elts]
        if isinstance(at, ast.UnaryOp) and type(at.op) in _UNARY:
            return _UNARY[type(at.op)](self.node(at.operand))
        if isinstance(at, ast.BinOp) and type(at.op) in _BINARY:
            return self.binary(at)
        if isinstance(at, ast.IfExp):
            return self.node(at.body) if self.node(at.test) else self.node(at.orelse)
        if isinstance(at, ast.Compare) and len(at.ops) == 1 and type(at.ops[0]) in _BINARY:
            return _BINARY[type(at.ops[0])](self.node(at.left), self.node(at.comparators[0]))
        if isinstance(at, ast.Subscript):
            return self.node(at.value)[self.node(at.slice)]
        raise _ImpureError

    def binary(self, at: ast.BinOp) -> Any:
        left, right = self.bounded(self.node(at.left)), self.bounded(self.node(at.right))
        # `'%99999d' % 1` and `'x' * 10**9` are small expressions of large values
        grows = isinstance(at.op, (ast.Mult, ast.Mod)) and not (_is_number(left) and _is_number(right))
        if grows or (isinstance(at.op, ast.Pow) and abs(right) > 64):
            raise _ImpureError
        return self.bounded(_BINARY[type(at.op)](left, right))

    def bounded(self, value: Any) -> Any:
        too_large = isinstance(value, int) and abs(value) > _LARGEST
        if too_large or (isinstance(value, (str, list)) and len(value) > _LONGEST):
            raise _ImpureError
        if value is not None and not isinstance(value, (bool, int, float, str, list, dict)):
            raise _ImpureError
        return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))
