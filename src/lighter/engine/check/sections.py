"""Sections that are dicts of settings: their values, and the mistakes in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lighter.config.check.calls import plain
from lighter.config.tree import join
from lighter.engine.check.constructors import is_known
from lighter.engine.check.context import Context

Mistakes = Callable[[dict[str, Any], Callable[[Any], bool]], Iterable[tuple[str, str, str]]]
"""Yields a key of the section (empty for all of it), a message and a hint for each mistake."""


def values_of(context: Context, section: str) -> tuple[str, dict[str, Any]] | None:
    """Return the path and the values of a section; None if the config has none that is a dict."""
    path = context.followed(section)
    node = context.tree.find(path)
    if node is None or not isinstance(node.value, dict):
        return None
    return path, {str(key): plain(child) for key, child in node.value.items()}


def has_mistakes(context: Context, path: str, values: dict[str, Any], mistakes: Mistakes) -> bool:
    """Add a problem for each mistake in a section, where it is written, and return whether there is one."""
    found = list(mistakes(values, is_known))
    for key, message, hint in found:
        context.problem(message, join(path, key) if key else path, hint, at_key=message.endswith("unknown"))
    return bool(found)
