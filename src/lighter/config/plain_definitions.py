"""The definitions in a config as plain data: what configs are compared by, and objects are made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lighter.config.expression import absolute
from lighter.config.references import followed
from lighter.config.tree import Node, is_index, is_target, join, same_key, split


class PlainDefinitions:
    """The definitions in a config, as plain data with absolute references. Nothing is imported.

    The tree is expanded, and its references were checked.
    """

    def __init__(self, tree: Node) -> None:
        self.tree = tree
        self._data = _with_absolute_references(tree.plain(), "")
        # Dotted names for expressions, of which no objects are made.
        self._data.pop("_imports_", None)

    def definition(self, path: str) -> Any:
        """Return what stands at a path, as plain data; raise a KeyError if nothing does."""
        try:
            return value_at(self._data, split(path))
        except LookupError:
            raise KeyError(path) from None

    @property
    def sections(self) -> list[str]:
        return list(self._data)

    def lookup(self, path: str) -> Any:
        """Return what stands at a path, as plain data; None where nothing does."""
        return self.definition(path) if self.has(path) else None

    def has(self, path: str) -> bool:
        return self.tree.find(path) is not None

    @property
    def module_section(self) -> str:
        """`model`, or `system`, which has its own dataloaders: `data` beside it has at most a `split`."""
        return "system" if self.has("system") else "model"

    def definitions(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Return every definition of an object, with its path."""
        return [(path, value) for path, value in walk(self._data, "") if is_target(value)]

    def followed(self, path: str) -> str:
        """Return the path that a value leads to where it is a reference to a definition; otherwise its own."""
        return followed(self.tree, path)


def value_at(data: Any, steps: Sequence[str]) -> Any:
    """Return what stands some steps below in plain data; raise a LookupError if nothing does."""
    for step in steps:
        if isinstance(data, list) and is_index(step):
            data = data[int(step)]
        elif isinstance(data, Mapping):
            data = data[same_key(data, step)]
        else:
            raise LookupError(step)
    return data


def walk(value: object, path: str) -> Iterator[tuple[str, Any]]:
    """Yield a value and all that is in it, each with its path; the value itself only if it has one."""
    if path:
        yield path, value
    if isinstance(value, dict):
        for key, child in value.items():
            yield from walk(child, join(path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from walk(child, join(path, index))


def _with_absolute_references(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        return {key: _with_absolute_references(child, join(path, key)) for key, child in value.items()}
    if isinstance(value, list):
        return [_with_absolute_references(child, join(path, index)) for index, child in enumerate(value)]
    return absolute(path, value) if isinstance(value, str) and value[:1] in ("@", "$") else value
