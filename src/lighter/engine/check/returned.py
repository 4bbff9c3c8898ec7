"""Tell whether a function returns a dict, by its annotation or its source."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from torch import Tensor

from lighter.config.passed_on import syntax_of

_CALLS = ("float", "int", "bool")
_NO_DICTS = (Tensor, float, int, tuple, list, type(None))


def returns_no_dict(function: Any) -> bool:
    """Return whether a function is known to return a tensor or a number, or else something that is no dict."""
    options = _annotated(function)
    if options is not None:
        return all(_is_class(get_origin(option) or option, _NO_DICTS) for option in options)
    body = syntax_of(function)
    returned = _returned(body) if body is not None else []
    return body is not None and bool(returned) and all(_computes(value, body, ()) for value in returned)


def returns_dict(function: Any) -> bool:
    """Return whether a function is known to return a dict."""
    options = _annotated(function)
    if options is not None:
        return all(_is_class(get_origin(option) or option, Mapping) for option in options)
    body = syntax_of(function)
    returned = _returned(body) if body is not None else []
    return bool(returned) and all(isinstance(value, ast.Dict) for value in returned)


def _annotated(function: Any) -> tuple[Any, ...] | None:
    try:
        annotation = get_type_hints(function).get("return", Any)
    except Exception:  # noqa: BLE001  names that only a type checker has, or no function
        return None
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return options if Any not in options and object not in options else None


def _is_class(option: Any, kinds: Any) -> bool:
    return isinstance(option, type) and issubclass(option, kinds)


def _returned(body: ast.FunctionDef) -> list[ast.expr | None]:
    return [node.value for node in ast.walk(body) if isinstance(node, ast.Return)]


def _computes(value: ast.expr | None, body: ast.FunctionDef, names: tuple[str, ...]) -> bool:
    """Return whether an expression is arithmetic, or a call of torch's: `a / b`, `torch.sqrt(x)`, `x.mean()`."""
    if isinstance(value, ast.BinOp):
        return not isinstance(value.op, ast.BitOr)  # of two dicts
    if isinstance(value, ast.Call):
        return _is_of_torch(value.func)
    if isinstance(value, ast.Name) and value.id not in names:
        # A name stands for all that the function assigns to it.
        bound = [node for node in ast.walk(body) if isinstance(node, ast.Name) and node.id == value.id]
        assigned = [each for node in ast.walk(body) if (each := _assigned(node, value.id)) is not None]
        stores = sum(isinstance(node.ctx, ast.Store) for node in bound)
        return 0 < stores == len(assigned) and all(_computes(each, body, (*names, value.id)) for each in assigned)
    return isinstance(value, ast.UnaryOp) or (isinstance(value, ast.Constant) and isinstance(value.value, (int, float)))


def _assigned(node: ast.AST, name: str) -> ast.expr | None:
    target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
    return node.value if isinstance(node, ast.Assign) and isinstance(target, ast.Name) and target.id == name else None


def _is_of_torch(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in _CALLS
    if not isinstance(function, ast.Attribute):
        return False
    return (isinstance(function.value, ast.Name) and function.value.id == "torch") or (
        hasattr(Tensor, function.attr) and not hasattr(dict, function.attr)
    )
