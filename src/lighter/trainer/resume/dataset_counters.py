"""Attributes that a dataset's code changes per sample, which are invisible when workers load it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

_SERVE = ("__getitem__", "__getitems__")


def counts_of(dataset: Any, name: str) -> Iterator[str]:
    """Yield the attributes that `+=` and the like change when a sample is asked for, of datasets within it too."""
    # only in these methods: a file that is opened with the first sample is no state, and what other functions do is not
    # known
    for method in _SERVE:
        yield from (f"{name}.{attribute}" for attribute in _counted(getattr(type(dataset), method, None)))
    parts = getattr(dataset, "datasets", None)
    if isinstance(parts, (list, tuple)):
        for number, part in enumerate(parts):
            yield from counts_of(part, f"{name}.datasets[{number}]")
    elif (inner := getattr(dataset, "dataset", None)) is not None and inner is not dataset:
        yield from counts_of(inner, f"{name}.dataset")


def _counted(method: Any) -> list[str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
        first = next(iter(inspect.signature(method).parameters), None)
    except (OSError, TypeError, ValueError, SyntaxError):  # not written in Python, or in no file
        return []
    targets = [node.target for node in ast.walk(tree) if isinstance(node, ast.AugAssign)]
    owned = [one for one in targets if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name)]
    return sorted({one.attr for one in owned if isinstance(one.value, ast.Name) and one.value.id == first})
