"""Differences between two configs, or any other plain data, by path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lighter.config.tree import join


class Change(NamedTuple):
    """A value that differs; None where there is none."""

    path: str
    before: Any
    after: Any


def values_by_path(data: Any, path: str = "") -> dict[str, Any]:
    """Return the scalars in plain data, and its empty dicts and lists, by their paths."""
    if isinstance(data, Mapping) and data:
        items = list(data.items())
    elif isinstance(data, (list, tuple)) and data:
        items = list(enumerate(data))
    else:
        return {path: data}
    return {inner: value for key, child in items for inner, value in values_by_path(child, join(path, key)).items()}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """Yield what differs between values by their paths, in the order of the first, then of the second."""
    for path in {**before, **after}:
        if before.get(path) != after.get(path):
            yield Change(path, before.get(path), after.get(path))
