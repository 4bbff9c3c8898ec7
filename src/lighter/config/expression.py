"""References and expressions as text: the paths that they refer to, and their syntax tree.

`@a::b` is a reference wherever Python takes a name, in the braces of an f-string too, but not in the text of a string.
"""

from __future__ import annotations

import ast
import re
import warnings
from contextlib import suppress
from functools import lru_cache

from lighter.config.tree import SEPARATOR, split

REFERENCES = "__local_refs"
"""Names the values of references in expressions: `@a::b` is `__local_refs['a::b']`."""

COPIES = "__copies__"
"""Section of the copies that expressions ask for by `%a::b`."""

STAND_IN = "_lighter_reference_"
_ABSOLUTE = re.compile(r"@(\w+(?:::\w+)*)")
_RELATIVE = re.compile(r"([@%])((?:::)+)")
_ANY_REFERENCE = re.compile(r"@(?:::)*\w+(?:::\w+)*")
_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


def referred(text: str) -> list[str]:
    """Return the paths that a reference or an expression refers to by `@`, each once; nothing for any other text."""
    if not text.startswith("$"):
        return [*dict.fromkeys(_ABSOLUTE.findall(text))] if text.startswith("@") else []
    return [*dict.fromkeys(reference[1:] for reference in stand_ins(text[1:])[1].values())]


def absolute(path: str, text: str) -> str:
    """Return a reference or expression, its references absolute; raise a ValueError if one goes up beyond the top."""
    if not text.startswith("$"):
        return from_top(path, text)
    pieces = _pieces(text[1:].strip())
    return "$" + "".join(from_top(path, piece) if is_reference else piece for piece, is_reference in pieces)


def absolute_if_any(path: str, text: str) -> str:
    """Return what `absolute` does; empty where a reference goes up beyond the top, which the check reports."""
    with suppress(ValueError):
        return absolute(path, text)
    return ""


def from_top(path: str, text: str) -> str:
    """Return a text with absolute references: `@::b`, at `a::c`, is `@a::b`; raise a ValueError as `absolute` does."""
    steps = split(path)

    def replaced(match: re.Match[str]) -> str:
        levels = len(match[2]) // len(SEPARATOR)
        if levels > len(steps):
            raise ValueError(f"`{match[0]}` goes up {levels} levels from `{path}`, which has {len(steps)}")
        return match[1] + "".join(f"{step}{SEPARATOR}" for step in steps[: len(steps) - levels])

    return _RELATIVE.sub(replaced, text)


def stand_ins(expression: str) -> tuple[str, dict[str, str]]:
    """Return an expression with a name in place of each reference, and the reference that each name stands for."""
    text = ""
    names: dict[str, str] = {}
    for piece, is_reference in _pieces(expression.strip()):
        if is_reference:
            name = f"{STAND_IN}{len(names)}_"
            names[name] = piece
            piece = _apart(text, name)
        text += piece
    return text, names


def syntax_tree(expression: str) -> ast.Expression:
    """Return the syntax tree of an expression, its absolute references looked up in `__local_refs`.

    Raise a SyntaxError if it is no expression, or what else Python raises for what it cannot parse.
    """
    text, names = stand_ins(expression)
    # Looked up by name: what follows a reference, `@a.b` or `@a[0]`, is then Python's own grammar.
    tree: ast.Expression = _LookUp(names).visit(_parsed(text))
    return tree


class _LookUp(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self.names or not isinstance(node.ctx, ast.Load):
            return node
        values = ast.copy_location(ast.Name(REFERENCES, ast.Load()), node)
        path = ast.copy_location(ast.Constant(self.names[node.id][1:]), node)
        return ast.copy_location(ast.Subscript(values, path, ast.Load()), node)


# Each expression is split by several checks, and again when it is evaluated.
@lru_cache(maxsize=4096)
def _pieces(expression: str) -> tuple[tuple[str, bool], ...]:
    """Split an expression at its references; of each piece, tell whether it is one. If it is not Python, any `@` is."""
    matches = [*_ANY_REFERENCE.finditer(expression)]
    if not matches:
        return ((expression, False),)
    text, end = "", 0
    for number, match in enumerate(matches):
        text += expression[end : match.start()]
        text += _apart(text, f"{STAND_IN}{number}_")
        end = match.end()
    try:
        names = {node.id for node in ast.walk(_parsed(text + expression[end:])) if isinstance(node, ast.Name)}
    # Where it is not Python, any `@` is a reference: the error is reported elsewhere, and its references are checked.
    except _UNPARSABLE:
        names = {f"{STAND_IN}{number}_" for number in range(len(matches))}
    # a stand-in within the text of a string is no name in the syntax tree, so that reference is text
    pieces, end = [], 0
    for number, match in enumerate(matches):
        if f"{STAND_IN}{number}_" in names:
            pieces += [(expression[end : match.start()], False), (match[0], True)]
            end = match.end()
    return (*pieces, (expression[end:], False))


def _apart(before: str, name: str) -> str:
    # `1if@a` is Python's `1 if a`: a name put in place of `@a` must not become one with the word before it.
    return f" {name}" if before[-1:].isidentifier() or before[-1:].isdigit() else name


def _parsed(text: str) -> ast.Expression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's advice on style
        return ast.parse(text.strip(), mode="eval")
