"""Expressions that only compute: literals, references, operators, comparisons, conditions and indices.

`show --resolve` works these out; `expressions` adds names, attributes and calls. Each node of Python's syntax tree is
evaluated at most once: there are no loops, no assignments and no definitions, and whatever has no method here is
refused. Sizes are bounded before something is computed.
"""

from __future__ import annotations

import ast
import math
import operator
import sys
from collections.abc import Callable
from functools import lru_cache
from itertools import zip_longest
from typing import Any, ClassVar

from lighter.config.expression import REFERENCES, syntax_tree
from lighter.config.problems import shortened
from lighter.config.safe.mode import RefusedError
from lighter.config.safe.work import MAX_BITS, MAX_ITEMS, NUMBERS, SCALARS, SEQUENCES, Work, is_array

MAX_LENGTH = 2000
_MAX_DEPTH = 60
# without bits, shifts and matrix products, which ordinary configs do without
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}
_NAMES: dict[type[ast.AST], str] = {
    ast.Lambda: "a lambda",
    ast.NamedExpr: "an assignment",
    ast.Starred: "`*` before an argument",
    ast.JoinedStr: "an f-string; `+` puts texts together",
    **dict.fromkeys((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), "a comprehension"),
    **dict.fromkeys((ast.Dict, ast.Set), "braces: a dict is written in YAML"),
}


class Arithmetic:
    """Evaluate one expression: `reference` returns a value by its path, and `work` counts for all of the config's."""

    def __init__(self, reference: Callable[[str], Any], work: Work) -> None:
        self.reference, self.work = reference, work

    def evaluate(self, text: str) -> Any:
        """Return the value of an expression whose references are absolute.

        Raise a `RefusedError` for what is not evaluated here, and whatever Python raises, for a division by zero say.
        """
        value = self.value(parse(text))
        # Lists that share lists are small here, and may be too much for whoever walks through them.
        for _ in self.work.leaves(value):
            pass
        return value

    def value(self, node: ast.AST) -> Any:
        self.work.spend()
        evaluate = self.nodes.get(type(node))
        if evaluate is None:
            raise not_evaluated(node)
        return evaluate(self, node)

    def constant(self, node: ast.Constant) -> Any:
        if type(node.value) not in (*SCALARS, type(...)):
            raise RefusedError(f"a {type(node.value).__name__} is not used in expressions")
        return self.work.checked(node.value)

    def unary(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        if isinstance(node.op, ast.Not):
            return not truth(value)
        if type(node.op) not in OPERATORS or not (type(value) in NUMBERS or is_array(value)):
            raise RefusedError("a sign stands before a number, a tensor or an array")
        self.work.spend_on([value])
        return self.work.checked(OPERATORS[type(node.op)](value))

    def binary(self, node: ast.BinOp) -> Any:
        if type(node.op) not in OPERATORS:
            raise not_evaluated(node.op)
        left, right = self.value(node.left), self.value(node.right)
        if is_array(left) or is_array(right):
            self.check_shape(left, right)
        else:
            _check_growth(node.op, left, right)
            self.work.spend(sum(len(side) if type(side) in SEQUENCES else 1 for side in (left, right)))
        return self.work.checked(OPERATORS[type(node.op)](left, right))

    def check_shape(self, left: Any, right: Any) -> None:
        """Refuse two arrays that are broadcast to a shape that is far larger than theirs."""
        if not all(is_array(side) or type(side) in NUMBERS for side in (left, right)):
            raise RefusedError("an array is calculated with, and compared to, arrays and numbers")
        # Two thin arrays may be broadcast to a huge one: a column and a row of a million each.
        shapes = [tuple(getattr(side, "shape", ()))[::-1] for side in (left, right)]
        self.work.spend_elements(math.prod(max(sizes) for sizes in zip_longest(*shapes, fillvalue=1)))

    def boolean(self, node: ast.BoolOp) -> Any:
        stop = isinstance(node.op, ast.Or)
        for operand in node.values[:-1]:
            value = self.value(operand)
            if truth(value) is stop:
                return value
        return self.value(node.values[-1])

    def comparison(self, node: ast.Compare) -> Any:
        left, result = self.value(node.left), True
        for symbol, operand in zip(node.ops, node.comparators, strict=True):
            right = self.value(operand)
            result = self.compared(symbol, left, right)
            # Python's chains stop at the first that is false, and so the rest must not be worked out.
            if len(node.ops) > 1 and not truth(result):
                return result
            left = right
        return result

    def compared(self, symbol: ast.cmpop, left: Any, right: Any) -> Any:
        """Compare two values: `is` works on anything, the rest on plain values and arrays."""
        is_in = isinstance(symbol, (ast.In, ast.NotIn))
        if is_in and type(right) not in (str, list, tuple, dict):
            raise RefusedError("`in` looks into a text, a list or a dict")
        if not is_in and not isinstance(symbol, (ast.Is, ast.IsNot)) and (is_array(left) or is_array(right)):
            self.check_shape(left, right)
        elif not isinstance(symbol, (ast.Is, ast.IsNot)):
            self.work.measure([left, right])
        return OPERATORS[type(symbol)](left, right)

    def subscript(self, node: ast.Subscript) -> Any:
        if isinstance(node.value, ast.Name) and node.value.id == REFERENCES:
            return self.reference(ast.literal_eval(node.slice))
        value, key = self.value(node.value), self.value(node.slice)
        bounds = (key.start, key.stop, key.step) if type(key) is slice else key
        self.work.measure(bounds, slice, type(...))
        if type(value) is dict or is_bunch(value):
            return dict.__getitem__(value, key)
        if is_array(value):
            return self.work.call(operator.getitem, (value, key), {})
        if type(value) in SEQUENCES:
            return self.work.checked(value[key])
        torch = sys.modules.get("torch")
        if torch is not None and type(value) in (torch.Size, torch.nn.Sequential, torch.nn.ModuleList):
            return value[key]
        raise RefusedError(f"a {type(value).__name__} has no items that safe mode could take")

    def bounds(self, node: ast.Slice) -> slice:
        bounds = [None if bound is None else self.value(bound) for bound in (node.lower, node.upper, node.step)]
        if not all(type(bound) in (bool, int, type(None)) for bound in bounds):
            raise RefusedError("the bounds of a slice are integers")
        return slice(*bounds)

    nodes: ClassVar[dict[type[ast.AST], Callable[..., Any]]] = {
        ast.BinOp: binary,
        ast.BoolOp: boolean,
        ast.Compare: comparison,
        ast.Constant: constant,
        ast.IfExp: lambda self, node: self.value(node.body if truth(self.value(node.test)) else node.orelse),
        ast.List: lambda self, node: [self.value(element) for element in node.elts],
        ast.Slice: bounds,
        ast.Subscript: subscript,
        ast.Tuple: lambda self, node: tuple(self.value(element) for element in node.elts),
        ast.UnaryOp: unary,
    }


@lru_cache(maxsize=256)
def parse(text: str) -> ast.expr:
    """Return the syntax tree of an expression of a reasonable size."""
    if len(text) > MAX_LENGTH:
        raise RefusedError(f"an expression has at most {MAX_LENGTH} characters")
    try:
        tree = syntax_tree(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or "it is nested too deeply"
        raise RefusedError(f"this is no expression: {shortened(reason, 100)}") from None
    depth, level = 0, [tree]
    while level:  # without recursion, for which it may be too deep
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]  # type: ignore[misc]
    if depth > _MAX_DEPTH:
        raise RefusedError(f"an expression is nested at most {_MAX_DEPTH} deep")
    return tree


def not_evaluated(node: ast.AST) -> RefusedError:
    return RefusedError(f"safe mode does not evaluate {_NAMES.get(type(node), type(node).__name__)}")


def truth(value: object) -> bool:
    if type(value) in (*SCALARS, *SEQUENCES, dict) or is_array(value):
        return bool(value)
    raise RefusedError(f"a {type(value).__name__} is neither true nor false; `is not None` can be asked")


def is_bunch(value: object) -> bool:
    """Return whether a value is the dict that scikit-learn returns its data in."""
    utils = sys.modules.get("sklearn.utils")
    return utils is not None and type(value) is utils.Bunch


def _check_growth(symbol: ast.operator, left: Any, right: Any) -> None:
    sides = (left, right)
    if not all(type(side) in (*NUMBERS, str, list, tuple) for side in sides):
        raise RefusedError("operators work on numbers, texts, lists, tensors and arrays")
    # A format string may ask for a billion spaces: `"%999999999d" % 1`.
    if isinstance(symbol, ast.Mod) and type(left) is str:
        raise RefusedError("text is put together by `+`, not by `%`")
    if isinstance(symbol, ast.Pow) and not any(type(side) is float for side in sides):
        if not all(type(side) in NUMBERS for side in sides):
            raise RefusedError("`**` works on numbers, tensors and arrays")
        # Known before the power is computed: `9 ** 9 ** 9` would take for ever.
        if int(left).bit_length() * abs(right) > 2 * MAX_BITS:
            raise RefusedError(f"this integer has more than {MAX_BITS} bits")
    if isinstance(symbol, ast.Mult):
        for sequence, times in (sides, sides[::-1]):
            if type(sequence) in SEQUENCES and type(times) in (bool, int) and len(sequence) * times > MAX_ITEMS:
                raise RefusedError(f"this has more than {MAX_ITEMS:,} items")
