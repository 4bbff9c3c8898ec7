"""The walk from a config value to what it becomes: references, expressions and definitions of objects.

`@a::b` becomes what `a::b` becomes: that is worked out once, and the same for all who refer to it. A definition or an
expression is worked out after all that it needs, and what it needs in the order in which that is written, so that
constructors draw the same random numbers every time. A dict or list around them is made anew with their results.
`objects` says how an expression is evaluated and a target called; here is only what comes when.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lighter.config.expression import referred
from lighter.config.plain_definitions import PlainDefinitions, value_at
from lighter.config.tree import SEPARATOR, disabled, is_target, join, prefixes, split

Evaluate = Callable[[str, Mapping[str, Any], str], Any]
"""Returns the value of an expression, from its text, the values of its references, and its path."""

Call = Callable[[Mapping[str, Any], str], Any]
"""Returns an object, from its definition with all values worked out, and its path."""


class CircleError(Exception):
    """A value is needed to make itself: `path` closes the circle, and the message has the way around."""

    def __init__(self, path: str, around: list[str]) -> None:
        super().__init__(" -> ".join(around))
        self.path = path


class Resolver:
    """Work out values by their path, each once; `made` has what was worked out so far."""

    def __init__(self, definitions: PlainDefinitions, evaluate: Evaluate, call: Call) -> None:
        self._definitions, self._evaluate, self._call = definitions, evaluate, call
        self._defined: dict[str, Any] = {}  # with all that is in it
        self._exchanged: dict[str, Any] = {}  # alone
        self._changed: dict[str, Callable[[Any], Any]] = {}  # once it is made
        self.made: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A module's `Deferred` optimizer would take trainer and data along. Networks stay: an optimizer that refers to
        # one is to train that of the copied module, and not a new one.
        torch = sys.modules.get("torch")  # without it, there is no network either
        kinds = (torch.nn.Module, torch.Tensor) if torch is not None else ()
        made = {path: made for path, made in self.made.items() if isinstance(made, kinds)}
        return {**self.__dict__, "made": made, "_changed": {}}

    def resolve(self, path: str) -> Any:
        """Return what the value at a path becomes; raise a KeyError if nothing stands there, or a `CircleError`."""
        if path not in self.made:
            for needed in self._in_order(path):
                self.made[needed] = self._value(needed)
                # a second assignment: what changes it may ask for values that refer to it, and these get it unchanged
                if needed in self._changed:
                    self.made[needed] = self._changed[needed](self.made[needed])
        return self.made[path]

    def build(self, path: str, arguments: Mapping[str, Any]) -> Any:
        """Make what a path becomes anew, and all below it; an object with other arguments beside its own."""
        self.forget(path)
        before, definition = self._exchanged.get(path), self.definition(path)
        if is_target(definition):
            self._exchanged[path] = {**definition, **arguments}
        try:
            return self.resolve(path)
        finally:
            # The arguments were for this object alone.
            self._exchanged.pop(path, None)
            if before is not None:
                self._exchanged[path] = before

    def definition(self, path: str) -> Any:
        """Return what a path is made from by now; raise a KeyError if nothing stands there."""
        if path in self._exchanged:
            return self._exchanged[path]
        # An inner definition was exchanged after the one around it, as `define` drops those that were there before.
        for above in reversed(prefixes(path)):
            if above in self._defined:
                try:
                    return value_at(self._defined[above], split(path)[len(split(above)) :])
                except LookupError:  # what is in it no more can still be referred to
                    continue
        return self._definitions.definition(path)

    def exchange(self, path: str, definition: Any) -> None:
        """Exchange the definition of one object. Objects in it are made as before, and can still be referred to."""
        self.forget(path, below=False)
        self._exchanged[path] = definition

    def define(self, path: str, definition: Any) -> None:
        """Exchange what a path and all below it is made from."""
        self.forget(path)
        for changes in (self._exchanged, self._defined):
            for inner in [inner for inner in changes if f"{inner}{SEPARATOR}".startswith(f"{path}{SEPARATOR}")]:
                del changes[inner]
        self._defined[path] = definition

    def change(self, path: str, change: Callable[[Any], Any]) -> None:
        """Let all who refer to a path get what a function makes of its value."""
        self.forget(path, below=False)
        self._changed[path] = change

    def forget(self, path: str, *, below: bool = True) -> None:
        """Drop what a path has become, and what is below it."""
        for known in [known for known in self.made if known == path or (below and known.startswith(path + SEPARATOR))]:
            del self.made[known]

    def _in_order(self, path: str) -> Iterator[str]:
        """Yield all that a path needs, then the path itself. The caller makes each before it asks for the next."""
        # Without recursion: a chain of references may have thousands of links.
        trail = {path: self._needs(self.definition(path), path)}
        while trail:
            here, needs = next(reversed(trail.items()))
            # `made` has grown since the last look: what was yielded is there now
            needed = next((each for each in needs if each not in self.made), None)
            if needed is None:
                del trail[here]
                yield here
            elif needed in trail:
                paths = [*trail]
                raise CircleError(here, [*paths[paths.index(needed) :], needed])
            else:
                trail[needed] = self._needs(self.definition(needed), needed)

    def _needs(self, value: Any, path: str) -> Iterator[str]:
        if isinstance(value, str):
            yield from referred(value)
        elif type(value) in (dict, list) and not disabled(value):
            for key, child in _items(value):
                # Objects and expressions are made once, wherever they are used, and so each for itself.
                if _has_own_result(child):
                    yield join(path, key)
                else:
                    yield from self._needs(child, join(path, key))

    def _value(self, path: str) -> Any:
        value = self.definition(path)
        if disabled(value):
            return None
        if _is_expression(value):
            return self._evaluate(value, {target: self.made[target] for target in referred(value)}, path)
        filled = self._filled(value, path)
        return self._call(filled, path) if is_target(value) else filled

    def _filled(self, value: Any, path: str) -> Any:
        if isinstance(value, str):
            return self.made[value[1:]] if [value[1:]] == referred(value) else value
        if type(value) is list:
            return [result for _, result in self._results(value, path)]
        return dict(self._results(value, path)) if type(value) is dict else value

    def _results(self, value: Any, path: str) -> Iterator[tuple[Any, Any]]:
        for key, child in _items(value):
            here = join(path, key)
            result = self.made[here] if _has_own_result(child) else self._filled(child, here)
            # None of an expression stays: only of objects it says that there is none
            if result is not None or not is_target(child):
                yield key, result


def _items(value: Any) -> Any:
    return value.items() if isinstance(value, dict) else enumerate(value)


def _is_expression(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("$")


def _has_own_result(value: Any) -> bool:
    return is_target(value) or _is_expression(value)
