"""Objects from a checked config: targets are located and called here, and expressions evaluated.

`resolver` decides what is made when. A definition may be exchanged before it is used (pruning), and a `Deferred`
stands for one that is built later, as often as it is asked for. Errors end in `faults`.
"""

from __future__ import annotations

import functools
import pydoc
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from lighter.config.conversion import converted
from lighter.config.expression import REFERENCES, referred, syntax_tree
from lighter.config.faults import Failure, explained, join_if, traces
from lighter.config.imports import STATEMENTS, import_names, imports_of, names_of_statement
from lighter.config.locate import locate, not_callable, why_not_found
from lighter.config.plain_definitions import PlainDefinitions, walk
from lighter.config.problems import Problem, closest, indefinite
from lighter.config.resolver import CircleError, Resolver
from lighter.config.safe import SafeMode
from lighter.config.safe.expressions import evaluate
from lighter.config.safe.mode import RefusedError
from lighter.config.safe.work import Work
from lighter.config.suggestions import find_step
from lighter.config.tree import MODES, SEPARATOR, SPECIAL, Node, disabled, is_reference, is_target, join
from lighter.errors import ConfigError
from lighter.processes.signals import Stopped

_RAISED_AS_THEY_ARE = (ConfigError, KeyboardInterrupt, Stopped)


class Objects(PlainDefinitions):
    """The objects that a config defines, each made when it is first asked for.

    The tree is expanded, and its references were checked. With `safe`, nothing is imported, evaluated or called past
    it.
    """

    def __init__(self, tree: Node, safe: SafeMode | None = None) -> None:
        super().__init__(tree)
        self.safe = safe
        self._work = Work()
        self._names = import_names(tree) if safe is None else {}
        self._resolver = Resolver(self, self._evaluate, self._make)
        self._name_functions()

    def __getstate__(self) -> dict[str, Any]:
        # Modules do not travel to another process: it imports them again.
        return {**self.__dict__, "_names": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._names = import_names(self.tree) if self.safe is None else {}

    def get(self, path: str) -> Any:
        """Return the object at a path.

        Raises:
            KeyError: nothing stands there.
            ConfigError: the config is at fault: an unknown target, a circle, arguments that do not fit.
            Exception: whatever the user's code raises, with a note that says where in the config it was called.
        """
        return self._without_circles(lambda: self._resolver.resolve(path))

    def build(self, path: str, arguments: Mapping[str, Any]) -> Any:
        """Make a new object from the definition at a path, with some of its arguments exchanged."""
        return self._without_circles(lambda: self._resolver.build(path, arguments))

    def define(self, path: str, definition: Any) -> None:
        """Exchange what a path is made from; what was made from it is forgotten. Live objects may stand in it."""
        self._resolver.define(path, definition)

    def exchange(self, path: str, definition: Mapping[str, Any]) -> None:
        """Exchange the definition of one object. What stands below it in the config can still be referred to."""
        self._resolver.exchange(path, definition)

    def change(self, path: str, change: Callable[[Any], Any]) -> None:
        """Let all who refer to a path get what a function makes of the object there, once that is made.

        While the function runs, references to the path get the object itself.
        """
        self._resolver.change(path, change)

    def add_arguments(self, path: str, arguments: Mapping[str, Any]) -> None:
        """Give the object at a path more arguments, or others, than its definition has by now."""
        self.exchange(path, {**self._resolver.definition(path), **arguments})

    def provide(self, path: str, made: Any) -> None:
        """Let references to a path find an object that exists, unless they do: a process was sent these without it."""
        if self.has(path) and self._resolver.made.get(path) is not made:
            self._resolver.made[path] = made

    def made(self) -> dict[int, str]:
        """Return the path of each object that was made so far from a definition, by the object's id."""
        return {id(made): path for path, made in self._resolver.made.items() if is_target(self.called(path))}

    def target_or_none(self, path: str) -> Any:
        """Return what the definition at a path names; None where that cannot be had, no mistake before it is used."""
        try:
            return self.target(path)
        except Exception:  # noqa: BLE001  a stage may not need it
            return None

    def target(self, path: str) -> Any:
        name = self.called(path)["_target_"]
        return self._located(self.get(join(path, "_target_")) if is_reference(name) else name, path)

    def called(self, path: str) -> Any:
        """Return the definition at a path, or what was exchanged for it where the config has none of its own."""
        try:
            written = self.definition(path)
        except KeyError:
            written = None
        if is_target(written):
            return written
        try:
            return self._resolver.definition(path)
        except KeyError:
            return written

    def references_to(self, path: str, *, outside: Collection[str]) -> list[str]:
        """Return the paths of the values that refer to the object at a path, but for those within some others."""
        return [
            here
            for here, value in walk(self._data, "")
            if isinstance(value, str) and path in referred(value)
            if not any(here == inner or here.startswith(inner + SEPARATOR) for inner in outside)
        ]

    def problem(self, message: str, path: str, hint: str = "", *, at_key: bool = False) -> Problem:
        """Return a problem that shows where a value (or its key) stands, or else the nearest thing around it."""
        here, node = find_step(self.tree, path)
        origin = node.place if at_key and here == path else node.origin
        return Problem(message, origin if here else None, path, hint)

    def written_at(self, path: str, value: str) -> str:
        """Return the first path, at or below a path, at which a value is written; without one, the path itself."""
        ahead, seen = [path], set()
        while ahead:
            here = self.followed(ahead.pop())
            node = self.tree.find(here)
            if node is None or here in seen:
                continue
            seen.add(here)
            if not isinstance(node.value, (dict, list)) and str(node.value) == value:
                return here
            ahead += reversed([join(here, step) for step in node.steps()])
        return path

    def _name_functions(self) -> None:
        """Let `_target_` name a function, instead of calling it, in the arguments for which a class says so.

        A class says so by `functions`, as the adapters do for their transforms: `torch.sqrt` is called with a tensor
        later. A `_target_` that is a class, or has a `_mode_` of its own, is left as it is.
        """
        for path, definition in self.definitions():
            # by the names of such arguments first, so that no target is imported for the question alone
            if not any(str(key).endswith("_transforms") for key in definition):
                continue
            for key in getattr(self.target_or_none(path), "functions", ()):
                for inner in _definitions_in(definition.get(key), join(path, key)):
                    written, function = self.definition(inner), self.target_or_none(inner)
                    if "_mode_" not in written and function is not None and not isinstance(function, type):
                        self.define(inner, {**written, "_mode_": "callable"})

    def _without_circles(self, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except CircleError as circle:
            problem = self.problem("these references go round in a circle", circle.path, str(circle))
        raise ConfigError([problem])

    def _make(self, definition: Mapping[str, Any], path: str) -> Any:
        if disabled(definition):
            return None
        target = self._located(definition["_target_"], path)
        args, mode = definition.get("_args_", []), definition.get("_mode_", MODES[0])
        named = {key: value for key, value in definition.items() if key not in SPECIAL}
        if not isinstance(args, list):
            raise ConfigError([self.problem(f"`_args_` is a list; found {indefinite(args)}", path)])
        if mode not in MODES:
            message = f"`_mode_` is {', '.join(MODES[:-1])} or {MODES[-1]}; found {indefinite(mode)}"
            raise ConfigError([self.problem(message, path, closest(mode, MODES))])
        if self.safe is not None:
            try:
                self.safe.check_call(definition["_target_"], target, args, named, mode)
            except RefusedError as refused:
                raise self._refused(refused, path) from None
        # after safe mode's check, which is to see the values as the config has them
        args, named = converted(target, args, named)
        try:
            if mode == "callable":
                return functools.partial(target, *args, **named) if args or named else target
            if mode == "debug":
                from pdb import runcall

                return runcall(target, *args, **named)
            return target(*args, **named)
        except _RAISED_AS_THEY_ARE:
            raise
        except BaseException as error:  # noqa: BLE001  `exit(3)` too; explained, and raised again, below
            caught = error
        # outside of the handler, so that the user's exception does not get itself as its context
        raise explained(self, Failure(caught, path, traces(caught)[1:], target, named))

    def _located(self, name: Any, path: str) -> Any:
        caught: BaseException | None = None
        target = name
        try:
            if self.safe is not None:
                target = self.safe.locate(name)
            elif isinstance(name, str):
                target = locate(name)
        except RefusedError as refused:
            raise self._refused(refused, path) from None
        except pydoc.ErrorDuringImport as error:
            caught = error.value or error
        if caught is not None:
            raise explained(self, Failure(caught, path, traces(caught)))
        path = join(path, "_target_")
        if target is None:
            written = self.tree.find(path)
            message, hint = why_not_found(str(name), written.origin.source if written is not None else None)
            raise ConfigError([self.problem(message, path, hint)])
        if not callable(target):
            message, hint = not_callable(str(name), target)
            raise ConfigError([self.problem(message, path, hint)])
        return target

    def _evaluate(self, text: str, references: Mapping[str, Any], path: str) -> Any:
        expression = text.removeprefix("$")
        try:
            if self.safe is not None:
                return evaluate(expression, references, imports_of(self.tree), self.safe, self._work)
            if expression.startswith(STATEMENTS):
                # An import statement is worth the first name that it binds, so that a `$import` may stand anywhere.
                return self._names[names_of_statement(expression)[0]]
            code = compile(syntax_tree(expression), "<expression>", "eval")
            return eval(code, {**self._names, REFERENCES: references})
        except RefusedError as refused:
            raise self._refused(refused, path) from None
        except _RAISED_AS_THEY_ARE:
            raise
        except BaseException as error:  # noqa: BLE001  as above
            caught = error
        raise explained(self, Failure(caught, path, traces(caught)[1:]))

    def _refused(self, refused: RefusedError, path: str) -> ConfigError:
        return ConfigError([self.problem(str(refused), join_if(path, refused.argument), refused.hint)])


def _definitions_in(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _definitions_in(item, join(path, index))
    elif is_target(value):
        yield path
