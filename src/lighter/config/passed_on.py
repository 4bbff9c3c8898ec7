"""Constructors that pass their `**kwargs` on to the one that they override: what they take altogether."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping
from inspect import Parameter
from typing import Any


def syntax_of(function: Any) -> ast.FunctionDef | None:
    """Return the syntax tree of a function that Python runs as it is written; None where it cannot be told."""
    try:
        # A decorator may change what arrives.
        if not inspect.isfunction(function) or hasattr(function, "__wrapped__"):
            return None
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):  # a lambda in the middle of a line, say
        return None
    return tree if isinstance(tree, ast.FunctionDef) and not tree.decorator_list else None


def owners_of(kind: type) -> list[type]:
    """Return the classes, of all that a class derives from, that have a constructor written in Python."""
    return [each for each in kind.__mro__ if inspect.isfunction(vars(each).get("__init__"))]


def with_passed_on(kind: type) -> dict[str, Parameter] | None:
    """Return the parameters of a class of which Lighter's own constructor gets all `**kwargs`; None for other classes.

    The source tells: each constructor on the way passes them on whole, and does nothing else with them.
    """
    taken: dict[str, Parameter] = {}
    filled: set[str] = set()
    owners = owners_of(kind)
    # before any source is parsed, which takes milliseconds per constructor: of 120 metrics most of a check's time
    if not any(map(_is_lighters, owners)):
        return None
    for owner, following in zip(owners, [*owners[1:], None], strict=False):
        parameters = {
            name: item for name, item in _parameters(owner).items() if name not in filled and name not in taken
        }
        if _is_lighters(owner):
            return {**taken, **{name: _by_name(item, taken) for name, item in parameters.items()}} if taken else None
        call = _call_of_super(owner)
        if call is None or following is None:
            return None
        taken |= {
            name: _by_name(item, taken) for name, item in parameters.items() if item.kind is not Parameter.VAR_KEYWORD
        }
        by_position = [argument for argument in call.args if not isinstance(argument, ast.Starred)]
        filled |= {*[*_parameters(following)][: len(by_position)], *(each.arg for each in call.keywords if each.arg)}
    return None


def _is_lighters(owner: type) -> bool:
    return owner.__module__.partition(".")[0] == "lighter"


def _parameters(owner: type) -> dict[str, Parameter]:
    function: Any = vars(owner)["__init__"]
    return dict([*inspect.signature(function).parameters.items()][1:])


def _by_name(item: Parameter, before: Mapping[str, Parameter]) -> Parameter:
    # The class that derives passes `**kwargs` on, which have no positions: what it takes from there has a name.
    if not before or item.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
        return item
    may_be_unnamed = any(each.kind is Parameter.VAR_POSITIONAL for each in before.values())
    # An argument of `*args` may be this one, so that it is not missing.
    default = None if may_be_unnamed and item.default is Parameter.empty else item.default
    return item.replace(kind=Parameter.KEYWORD_ONLY, default=default)


def _call_of_super(owner: type) -> ast.Call | None:
    # Any other use of `**kwargs`, a `pop` say, changes what arrives: then it is unknown what the class takes.
    tree = syntax_of(vars(owner)["__init__"])
    if tree is None or tree.args.kwarg is None:
        return None
    name = tree.args.kwarg.arg
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and re.fullmatch(r"super\(.*\)\.__init__", ast.unparse(node.func))
    ]
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]
    whole = [each for call in calls for each in call.keywords if each.arg is None]
    if len(calls) != 1 or len(uses) != 1 or len(whole) != 1 or whole[0].value is not uses[0]:
        return None
    return calls[0]
