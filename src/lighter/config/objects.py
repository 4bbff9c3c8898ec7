"""Objects from a checked config. The only module that makes sparkwheel resolve; its errors end here.

sparkwheel follows `@`, evaluates `$` and calls what `_target_` names; each value is worked out once and then shared.
Two things are added around it: a definition may be exchanged before it is used (pruning), and a `Deferred` stands
for a definition that is built later, as often as it is asked for (optimizers).
"""

from __future__ import annotations

import importlib
import pydoc
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from sparkwheel import BaseError, CircularReferenceError, Component, Expression, Item, Location, Resolver
from sparkwheel.path_utils import resolve_relative_ids, scan_references

from lighter.config.problems import Problem, nearest
from lighter.config.tree import SEPARATOR, Node, is_target, join
from lighter.errors import ConfigError, ModuleError


class Objects:
    """The objects that a config defines, each made when it is first asked for.

    Args:
        tree: an expanded tree whose references were checked.
    """

    def __init__(self, tree: Node) -> None:
        self.tree = tree
        self._names = _import_names(tree.child("_imports_"))
        self._resolver = _Resolver()
        self._data = _with_absolute_references(tree.plain(), "")
        self._data.pop("_imports_", None)
        self._referred = {
            ref for _, value in _walk(self._data, "") if isinstance(value, str) for ref in scan_references(value)
        }
        self._add("", self._data)

    @property
    def sections(self) -> list[str]:
        """The top-level keys."""
        return list(self._data)

    def definition(self, path: str) -> Any:
        """What stands at a path, as plain data."""
        data = self._data
        for step in path.split(SEPARATOR):
            data = data[int(step)] if isinstance(data, list) else data[_key(data, step)]
        return data

    def target(self, path: str) -> Any:
        """The class or function that the definition at a path names by `_target_`."""
        name = self.definition(path)["_target_"]
        if not isinstance(name, str):
            return name
        found = self._guarded(lambda: pydoc.locate(name), path)
        if found is None:
            self._unknown_target(name, path)
        return found

    def define(self, path: str, definition: Any) -> None:
        """Exchange what a path is made from; what was made from it is forgotten. Live objects may stand in it."""
        self._resolver.forget(path)
        self._add(path, definition)

    def exchange(self, path: str, definition: Mapping[str, Any]) -> None:
        """Exchange the definition of one object. What stands below it in the config can still be referred to."""
        self._resolver.forget(path, below=False)
        self._resolver.add_item(Component(definition, id=path, source_location=_place(path)))

    def references_to(self, path: str, *, outside: Collection[str]) -> list[str]:
        """The paths of the values that refer to the object at a path, but for those within some others."""
        found = []
        for here, value in _walk(self._data, ""):
            if isinstance(value, str) and path in scan_references(value):
                if not any(here == inner or here.startswith(inner + SEPARATOR) for inner in outside):
                    found.append(here)
        return found

    def problem(self, message: str, path: str, hint: str = "") -> Problem:
        """A problem that shows where in the config something stands, or else the nearest thing around it."""
        here = path
        while here and self.tree.find(here) is None:
            here = here.rpartition(SEPARATOR)[0]
        node = self.tree.find(here) if here else None
        return Problem(message, node.origin if node is not None else None, path, hint)

    def get(self, path: str) -> Any:
        """The object at a path.

        Raises:
            ConfigError: the config is at fault: an unknown target, a circle, arguments that do not fit.
            Exception: whatever the user's code raises, with a note that says where in the config it was called.
        """
        return self._guarded(lambda: self._resolver.resolve(path), path)

    def build(self, path: str, arguments: Mapping[str, Any]) -> Any:
        """A new object from the definition at a path, with some of its arguments exchanged."""
        definition = self.definition(path)
        if is_target(definition):
            definition = {**definition, **arguments}
        self.define(path, definition)
        return self.get(path)

    def _add(self, path: str, value: Any) -> None:
        """Tell the resolver of everything at and below a path that it may be asked for."""
        for here, part in _walk(value, path):
            place = _place(here)
            if Component.is_instantiable(part):
                self._resolver.add_item(Component(part, id=here, source_location=place))
            elif Expression.is_expression(part):
                self._resolver.add_item(Expression(part, id=here, globals=self._names, source_location=place))
            elif here == path or here in self._referred or here.count(SEPARATOR) == 0:
                self._resolver.add_item(Item(part, id=here, source_location=place))

    def _guarded(self, make: Any, path: str) -> Any:
        try:
            return make()
        except ConfigError:
            raise
        except (BaseError, RecursionError, ValueError, SyntaxError, pydoc.ErrorDuringImport) as error:
            self._explain(error, path)

    def _explain(self, error: BaseException, path: str) -> NoReturn:
        """Sort out whose mistake an error was: the config's, or the user's code's."""
        if isinstance(error, BaseError) and error.source_location is not None:
            path = error.source_location.id or path
        if isinstance(error, CircularReferenceError):
            self._fail("these references go round in a circle", path, str(error._original_message))
        if isinstance(error, pydoc.ErrorDuringImport):
            cause: BaseException = error.value
        else:
            cause = error
            while isinstance(cause, BaseError) and cause.__cause__ is not None:
                cause = cause.__cause__
        if isinstance(cause, BaseError):
            definition = self._definition_or_none(path)
            if is_target(definition):
                self._unknown_target(definition["_target_"], path)
            self._fail(str(getattr(cause, "_original_message", cause)), path)
        if isinstance(cause, ConfigError):
            raise cause
        if isinstance(cause, ModuleError):
            self._fail(str(cause), path, cause=cause)
        if isinstance(cause, SyntaxError) and cause.filename in (None, "<unknown>", "<string>"):
            self._fail(f"this expression is not Python: {cause.msg}", path)
        if isinstance(cause, NameError) and _frames(cause) <= 2 and "$" in str(self._definition_or_none(path))[:1]:
            names = ", ".join(sorted(self._names)) or "none"
            self._fail(f"{cause} in this expression", path, f"Names come from `_imports_`; it has: {names}.")
        if isinstance(cause, TypeError) and _frames(cause) == 1 and is_target(self._definition_or_none(path)):
            self._fail(f"{self._definition_or_none(path)['_target_']} cannot be called like this: {cause}", path)
        self._note(cause, path)
        raise cause.with_traceback(_users_traceback(cause)) from cause.__cause__

    def _note(self, cause: BaseException, path: str) -> None:
        node = self.tree.find(path)
        place = f" ({node.origin})" if node is not None else ""
        definition = self._definition_or_none(path)
        call = f", calling {_shown_call(definition)}" if is_target(definition) else ""
        note = f"while `{path}`{place} was made{call}"
        if hasattr(cause, "add_note"):
            cause.add_note(note)
        else:  # Python 3.10
            cause.__notes__ = [*getattr(cause, "__notes__", []), note]  # type: ignore[attr-defined]

    def _definition_or_none(self, path: str) -> Any:
        try:
            return self.definition(path)
        except (KeyError, IndexError, ValueError, TypeError):
            return None

    def _unknown_target(self, name: Any, path: str) -> NoReturn:
        node = self.tree.find(join(path, "_target_")) or self.tree.find(path)
        problem = Problem(*_why_not_found(name, node, join(path, "_target_")))
        raise ConfigError([problem])

    def _fail(self, message: str, path: str, hint: str = "", cause: BaseException | None = None) -> NoReturn:
        raise ConfigError([self.problem(message, path, hint)]) from cause


class Deferred:
    """A definition of the config that is built later. Each `build` makes a new object.

    Attributes:
        path: where in the config it stands.
    """

    def __init__(self, objects: Objects, path: str) -> None:
        self._objects = objects
        self.path = path

    def __repr__(self) -> str:
        return f"<the definition {self.path} of the config, not built yet>"

    @property
    def definition(self) -> Any:
        """What the config says, as plain data."""
        return self._objects.definition(self.path)

    @property
    def target(self) -> Any:
        """The class or function that will be called."""
        return self._objects.target(self.path)

    def argument(self, name: str) -> Any:
        """The value of one argument, worked out; lists and dicts may hold text that only the caller understands."""
        path = join(self.path, name)
        self._objects.define(path, self._objects.definition(path))
        return self._objects.get(path)

    def build(self, **arguments: Any) -> Any:
        """A new object, with these arguments in place of, or beside, those of the config."""
        return self._objects.build(self.path, arguments)

    def problem(self, message: str, *, key: str = "", hint: str = "") -> ConfigError:
        """An error that shows where in the config this definition stands."""
        return ConfigError([self._objects.problem(message, join(self.path, key) if key else self.path, hint)])


def defer(objects: Objects, path: str) -> Any:
    """What stands at a path with each object in it replaced by a `Deferred`; plain values stay as they are."""

    def deferred(value: Any, here: str) -> Any:
        if is_target(value) or (isinstance(value, str) and value[:1] in ("@", "$")):
            return Deferred(objects, here)
        if isinstance(value, dict):
            return {key: deferred(child, join(here, key)) for key, child in value.items()}
        if isinstance(value, list):
            return [deferred(child, join(here, index)) for index, child in enumerate(value)]
        return value

    return deferred(objects.definition(path), path)


class _Resolver(Resolver):
    """sparkwheel's resolver, which can also forget."""

    def forget(self, path: str, *, below: bool = True) -> None:
        """Drop what is known of a path, and of all below it, and what was made from it."""
        for store in (self._items, self._resolved):
            for key in [key for key in store if key == path or (below and key.startswith(path + SEPARATOR))]:
                del store[key]


def _place(path: str) -> Location:
    """Sparkwheel's errors carry this; it tells which path of the config they are about."""
    return Location(filepath="config", line=1, id=path)


def _walk(value: Any, path: str) -> Any:
    if path:
        yield path, value
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _walk(child, join(path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _walk(child, join(path, index))


def _with_absolute_references(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        return {key: _with_absolute_references(child, join(path, key)) for key, child in value.items()}
    if isinstance(value, list):
        return [_with_absolute_references(child, join(path, index)) for index, child in enumerate(value)]
    if isinstance(value, str) and value[:1] in ("@", "$"):
        return resolve_relative_ids(path, value)
    return value


def _key(data: Mapping[Any, Any], step: str) -> Any:
    return step if step in data else next(key for key in data if str(key) == step)


def _import_names(node: Node | None) -> dict[str, Any]:
    """The names that expressions may use: `_imports_: {np: numpy, Path: pathlib.Path}`."""
    names: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, child in (node.value if node is not None and isinstance(node.value, dict) else {}).items():
        found = pydoc.locate(child.value) if isinstance(child.value, str) else None
        if found is None:
            problems.append(Problem(*_why_not_found(child.value, child, join("_imports_", name))))
        names[str(name)] = found
    if problems:
        raise ConfigError(problems)
    return names


def _why_not_found(name: Any, node: Node | None, path: str) -> tuple[str, Any, str, str]:
    """Message, origin, path and hint for a dotted name that leads nowhere: how far it leads, and what is there."""
    origin = node.origin if node is not None else None
    parts = str(name).split(".")
    for length in range(len(parts) - 1, 0, -1):
        found = pydoc.locate(".".join(parts[:length]))
        if found is not None:
            message = f"`{'.'.join(parts[:length])}` has no `{parts[length]}`"
            near = nearest(parts[length], [known for known in dir(found) if not known.startswith("_")])
            return message, origin, path, near if near.startswith("Did") else ""
    try:
        importlib.import_module(parts[0])
    except ImportError as error:
        reason = str(error)
    else:
        reason = f"`{parts[0]}` is no package"
    hint = "Is it installed here? A module of your own is found in the working directory, or by `project:`."
    return f"`{name}` cannot be imported: {reason}", origin, path, hint


def _frames(error: BaseException) -> int:
    """How deep the code went beyond the frames of ours and sparkwheel's when the error was raised."""
    return sum(1 for _ in _tail(error))


def _tail(error: BaseException) -> Any:
    trace = error.__traceback__
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _users_traceback(error: BaseException) -> Any:
    """The traceback from the first frame that is not sparkwheel's."""
    for trace in _tail(error):
        if not trace.tb_frame.f_globals.get("__name__", "").startswith(("sparkwheel", "lighter.config", "pydoc")):
            return trace
    return error.__traceback__


def _shown_call(definition: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{key}={_short(value)}" for key, value in definition.items() if key != "_target_")
    return f"{definition['_target_']}({arguments})"


def _short(value: Any) -> str:
    text = f"{value['_target_']}(...)" if is_target(value) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
