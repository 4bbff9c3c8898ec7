"""Definitions of the config that are built later, as often as they are asked for: optimizers, say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lighter.config.plain_definitions import walk
from lighter.config.tree import is_reference, is_target, join
from lighter.errors import ConfigError

if TYPE_CHECKING:
    from lighter.config.objects import Objects


class _Written:
    """A value of the config that knows its path, for errors about it."""

    def __init__(self, objects: Objects, path: str) -> None:
        self._objects = objects
        self.path = path

    def provide(self, path: str, made: Any) -> None:
        self._objects.provide(path, made)

    def expressions(self) -> Iterator[tuple[str, str]]:
        for path, value in walk(self._objects.definition(self.path), ""):
            if isinstance(value, str) and value.startswith("$"):
                yield path, value

    def problem(self, message: str, *, key: str = "", hint: str = "", written: str = "") -> ConfigError:
        """Return an error that shows where this stands, or one of its keys, or a value in it that is written so."""
        path = join(self.path, key) if key else self.path
        path = self._objects.written_at(path, written) if written else path
        return ConfigError([self._objects.problem(message, path, hint)])


class Deferred(_Written):
    """A definition of the config that is built later. Each `build` makes a new object."""

    def __repr__(self) -> str:
        return f"<the definition {self.path} of the config, not built yet>"

    @property
    def definition(self) -> Any:
        """The definition as plain data."""
        return self._objects.definition(self.path)

    @property
    def target(self) -> Any:
        """The class or function that will be called."""
        return self._objects.target(self.path)

    def argument(self, name: str) -> Any:
        """Return the value of one argument; lists and dicts may hold text that only the caller understands."""
        # Built apart from the definition, so that nothing else of it is made.
        return self._objects.build(join(self.path, name), {})

    def build(self, **arguments: Any) -> Any:
        """Make a new object, with these arguments in place of, or beside, those of the config."""
        return self._objects.build(self.path, arguments)


class Definitions(_Written, Mapping[str, Any]):
    def __init__(self, objects: Objects, path: str, content: Mapping[str, Any]) -> None:
        super().__init__(objects, path)
        self._content = content

    def __getitem__(self, key: str) -> Any:
        return self._content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


def defer(objects: Objects, path: str) -> Any:
    """Return what stands at a path with each object in it replaced by a `Deferred`; plain values stay as they are."""

    def deferred(value: Any, here: str) -> Any:
        if is_target(value) or is_reference(value):
            return Deferred(objects, objects.followed(here))
        if isinstance(value, dict):
            return Definitions(objects, here, {key: deferred(child, join(here, key)) for key, child in value.items()})
        if isinstance(value, list):
            return [deferred(child, join(here, index)) for index, child in enumerate(value)]
        return value

    return deferred(objects.definition(path), path)
