"""Objects from a checked config. The only module that makes sparkwheel resolve.

sparkwheel follows `@`, evaluates `$` and calls what `_target_` names; each value is worked out once and then shared.
Two things are added around it: a definition may be exchanged before it is used (pruning), and a `Deferred` stands
for a definition that is built later, as often as it is asked for (optimizers). Its errors end in `config.faults`.
"""

from __future__ import annotations

import copy
import pydoc
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from sparkwheel import Component, Expression, InstantiationError, Item, Location, Resolver

from lighter.config.conversion import converted
from lighter.config.expression import REFERENCES, referred, syntax_tree
from lighter.config.faults import OF_EXPRESSIONS, as_exception, explained, is_of_safe_mode, why_not_found
from lighter.config.locate import locate, not_callable
from lighter.config.plain_definitions import PlainDefinitions, walk
from lighter.config.problems import Problem
from lighter.config.safe import SafeMode
from lighter.config.safe.expressions import evaluate
from lighter.config.safe.mode import RefusedError
from lighter.config.safe.refusals import imports_of
from lighter.config.safe.values import Work
from lighter.config.tree import SEPARATOR, Node, is_reference, is_target, join
from lighter.errors import ConfigError, add_note
from lighter.processes.signals import Stopped


class Objects(PlainDefinitions):
    """The objects that a config defines, each made when it is first asked for.

    Args:
        tree: an expanded tree whose references were checked.
        safe: what the config may do, if it is a stranger's: then nothing is imported, evaluated or called past it.
    """

    def __init__(self, tree: Node, safe: SafeMode | None = None) -> None:
        super().__init__(tree)
        self.safe = safe
        self._work = Work()
        self.names = _import_names(tree.child("_imports_") if safe is None else None)
        self._resolver = _Resolver()
        self._exchanged: dict[str, Mapping[str, Any]] = {}
        self._referred = {ref for _, value in walk(self._data, "") if isinstance(value, str) for ref in referred(value)}
        self._add("", self._data)
        for path in self._referred:  # what is inside of a disabled definition
            if not self._resolver.knows(path):
                self._add(path, self.definition(path))

    def target_or_none(self, path: str) -> Any:
        """What the definition at a path names; None where that cannot be had, no mistake before it is used."""
        try:
            return self.target(path)
        except Exception:  # noqa: BLE001  a stage may not need it
            return None

    def target(self, path: str) -> Any:
        """The class or function that the definition at a path names by `_target_`."""
        name = self.called(path)["_target_"]
        if is_reference(name):
            name = self._item(join(path, "_target_"), name)
        return self._guarded(lambda: self._located(name, path), path)

    def define(self, path: str, definition: Any) -> None:
        """Exchange what a path is made from; what was made from it is forgotten. Live objects may stand in it."""
        self._resolver.forget(path)
        self._add(path, definition)

    def exchange(self, path: str, definition: Mapping[str, Any]) -> None:
        """Exchange the definition of one object. What stands below it in the config can still be referred to."""
        self._resolver.forget(path, below=False)
        self._resolver.add_item(_Component(definition, path, self))
        self._exchanged[path] = definition

    def provide(self, path: str, made: Any) -> None:
        """Let references to a path find an object that exists, unless they do: a process was sent these without it."""
        if self.has(path) and not any(value is made for here, value in self._resolver.made() if here == path):
            self._resolver.forget(path, below=False)
            self._resolver.add_item(Item(made, id=path, source_location=place(path)))

    def add_arguments(self, path: str, arguments: Mapping[str, Any]) -> None:
        """Give the object at a path more arguments, or others, than its definition has by now."""
        self.exchange(path, {**self._exchanged.get(path, self.definition(path)), **arguments})

    def called(self, path: str) -> Any:
        """The definition at a path, or what was exchanged for it where the config has none of its own."""
        try:
            written = self.definition(path)
        except KeyError:
            written = None
        return written if is_target(written) else self._exchanged.get(path, written)

    def arguments(self, path: str) -> Collection[str]:
        """The keys of what the object at a path is made from, those that were added to its definition included."""
        item = self._resolver.get_item(path)
        config = item.get_config() if item is not None else None
        return [*config] if isinstance(config, Mapping) else ()

    def made(self) -> dict[int, str]:
        """The path of each object that was made so far from a definition, by the object's id."""
        definitions = {path for path, _ in self.definitions()} | set(self._exchanged)
        return {id(value): path for path, value in self._resolver.made() if path in definitions}

    def references_to(self, path: str, *, outside: Collection[str]) -> list[str]:
        """The paths of the values that refer to the object at a path, but for those within some others."""
        found = []
        for here, value in walk(self._data, ""):
            within = any(here == inner or here.startswith(inner + SEPARATOR) for inner in outside)
            if not within and isinstance(value, str) and path in referred(value):
                found.append(here)
        return found

    def problem(self, message: str, path: str, hint: str = "", *, at_key: bool = False) -> Problem:
        """A problem that shows where in the config a value (or its key) stands, or else the nearest thing around it."""
        here = path
        while here and self.tree.find(here) is None:
            here = here.rpartition(SEPARATOR)[0]
        node = self.tree.find(here) if here else None
        origin = node.origin if node is not None else None
        if node is not None and at_key and here == path:
            origin = node.key_origin or origin
        return Problem(message, origin, path, hint)

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

    def get(self, path: str) -> Any:
        """The object at a path.

        Raises:
            ConfigError: the config is at fault: an unknown target, a circle, arguments that do not fit.
            Exception: whatever the user's code raises, with a note that says where in the config it was called.
        """
        if not self._resolver.knows(path):
            return self._item(path, self.definition(path))
        return self._guarded(lambda: self._resolver.resolve(path), path)

    def build(self, path: str, arguments: Mapping[str, Any]) -> Any:
        """A new object from the definition at a path, with some of its arguments exchanged."""
        definition = self.definition(path)
        if is_target(definition):
            definition = {**definition, **arguments}
        return self._item(path, definition)

    def _item(self, path: str, definition: Any) -> Any:
        self.define(path, definition)
        return self._guarded(lambda: self._resolver.resolve(path), path)

    def _add(self, path: str, value: Any) -> None:
        """Tell the resolver of everything at and below a path that it may be asked for."""
        for here, part in walk(_enabled(value), path):
            if self._resolver.knows(here):
                continue
            if is_target(part):
                self._resolver.add_item(_Component(part, here, self))
            elif Expression.is_expression(part) and self.safe is not None:
                self._resolver.add_item(_SafeExpression(part, here, self._evaluated))
            elif Expression.is_expression(part):
                item = _Expression(part, id=here, globals=self.names, source_location=place(here))
                self._resolver.add_item(item)
            elif here == path or here in self._referred or SEPARATOR not in here:
                self._resolver.add_item(Item(part, id=here, source_location=place(here)))

    def _located(self, target: Any, path: str) -> Any:
        """What `_target_` stands for, if it can be called."""
        try:
            if self.safe is not None:
                found = self.safe.locate(target)
            else:
                found = locate(target) if isinstance(target, str) else target
        except RefusedError as refused:
            raise self._refused(refused, path) from None
        except pydoc.ErrorDuringImport as error:
            raise InstantiationError(f"{target} failed", source_location=place(path)) from error.value
        path = join(path, "_target_")
        if found is None:
            written = self.tree.find(path)
            message, hint = why_not_found(str(target), written.origin.source if written is not None else None)
            raise ConfigError([self.problem(message, path, hint)])
        if not callable(found):
            raise ConfigError([self.problem(not_callable(target, found), path)])
        return found

    def _check_call(self, found: Any, definition: Mapping[str, Any], path: str) -> None:
        """Refuse what safe mode does not permit, with the values that the call is about to get."""
        if self.safe is None:
            return
        named = {key: value for key, value in definition.items() if key not in Component.non_arg_keys}
        mode = definition.get("_mode_", "default")
        try:
            self.safe.check_call(definition["_target_"], found, definition.get("_args_", ()), named, mode)
        except RefusedError as refused:
            raise self._refused(refused, path) from None

    def _evaluated(self, text: str, references: Mapping[str, Any], path: str) -> Any:
        """The value of an expression in safe mode."""
        imports = imports_of(self.tree)
        try:
            return evaluate(text, references, imports, self.safe or SafeMode(), self._work)
        except RefusedError as refused:
            raise ConfigError([self.problem(str(refused), path, refused.hint)]) from None
        except OF_EXPRESSIONS as error:
            if is_of_safe_mode(error):
                raise ConfigError(
                    [self.problem(f"this expression fails: {type(error).__name__}: {error}", path)]
                ) from error
            raise

    def _refused(self, refused: RefusedError, path: str) -> ConfigError:
        where = join(path, refused.argument) if refused.argument else path
        return ConfigError([self.problem(str(refused), where, refused.hint)])

    def _guarded(self, make: Callable[[], Any], path: str) -> Any:
        try:
            return make()
        except (ConfigError, KeyboardInterrupt, Stopped):
            raise
        except BaseException as error:  # noqa: BLE001  `exit(3)` too; explained, and raised again, below
            caught = error
        # outside of the handler, so that the user's exception does not get sparkwheel's as its context
        raise explained(self, caught, path)


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

    def provide(self, path: str, made: Any) -> None:
        """Let references to a path find an object that exists."""
        self._objects.provide(path, made)

    def argument(self, name: str) -> Any:
        """The value of one argument, worked out; lists and dicts may hold text that only the caller understands."""
        path = join(self.path, name)
        return self._objects.build(path, {})

    def build(self, **arguments: Any) -> Any:
        """A new object, with these arguments in place of, or beside, those of the config."""
        return self._objects.build(self.path, arguments)

    def problem(self, message: str, *, key: str = "", hint: str = "", written: str = "") -> ConfigError:
        """An error that shows where in the config this definition stands, or a value in it that is written so."""
        path = join(self.path, key) if key else self.path
        path = self._objects.written_at(path, written) if written else path
        return ConfigError([self._objects.problem(message, path, hint)])


class Definitions(Mapping[str, Any]):
    """A dict of the config whose objects are `Deferred`; it knows its place, for errors about its keys."""

    def __init__(self, objects: Objects, path: str, content: Mapping[str, Any]) -> None:
        self._objects = objects
        self._content = content
        self.path = path

    def provide(self, path: str, made: Any) -> None:
        """Let references to a path find an object that exists."""
        self._objects.provide(path, made)

    def __getitem__(self, key: str) -> Any:
        return self._content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def problem(self, message: str, *, key: str = "", hint: str = "") -> ConfigError:
        """An error that shows where in the config this dict, or the value of one of its keys, stands."""
        return ConfigError([self._objects.problem(message, join(self.path, key) if key else self.path, hint)])


def expressions_in(definition: Deferred | Definitions) -> Iterator[tuple[str, str]]:
    """Yield the expressions that are written in a definition, each with its path in it."""
    for path, value in walk(definition._objects.definition(definition.path), ""):
        if isinstance(value, str) and value.startswith("$"):
            yield path, value


def defer(objects: Objects, path: str) -> Any:
    """What stands at a path with each object in it replaced by a `Deferred`; plain values stay as they are."""

    def deferred(value: Any, here: str) -> Any:
        if is_target(value) or is_reference(value):
            return Deferred(objects, objects.followed(here))
        if isinstance(value, dict):
            content = {key: deferred(child, join(here, key)) for key, child in value.items()}
            return Definitions(objects, here, content)
        if isinstance(value, list):
            return [deferred(child, join(here, index)) for index, child in enumerate(value)]
        return value

    return deferred(objects.definition(path), path)


class _Component(Component):
    """sparkwheel's component; what it calls is found by us, so that a wrong name has a place in the config."""

    def __init__(self, config: Any, path: str, objects: Objects) -> None:
        super().__init__(config, id=path, source_location=place(path))
        self._objects = objects

    def resolve_module_name(self) -> Any:
        found = self._objects._located(self.get_config()["_target_"], self.get_id())
        self._objects._check_call(found, self.get_config(), self.get_id())
        return found

    def resolve_args(self) -> Any:
        args, kwargs = super().resolve_args()
        return converted(self._objects._located(self.get_config()["_target_"], self.get_id()), args, kwargs)


class _Expression(Expression):
    """sparkwheel's expression, in which a string's `@` is text, and an f-string may have quotes of either kind."""

    def evaluate(self, globals: Any = None, locals: Any = None) -> Any:
        if self.get_config().startswith(("$import ", "$from ")):
            return super().evaluate(globals, locals)
        code = compile(syntax_tree(self.get_config().removeprefix("$")), "<expression>", "eval")
        return eval(code, {**self.globals, **(globals or {})}, locals)


class _SafeExpression(Expression):
    """sparkwheel's expression, which neither evaluates nor imports."""

    def __init__(self, config: str, path: str, evaluated: Callable[[str, Mapping[str, Any], str], Any]) -> None:
        super().__init__(config, id=path, source_location=place(path))
        self._evaluated = evaluated

    def evaluate(self, globals: Any = None, locals: Any = None) -> Any:
        return self._evaluated(self.get_config().removeprefix("$"), (globals or {}).get(REFERENCES, {}), self.get_id())


class _Items(dict):
    """The resolver's items. It goes through all of them, each time, in search of imports; it is shown only those."""

    def __init__(self) -> None:
        super().__init__()
        self._imports: dict[str, Item] = {}

    def __setitem__(self, key: str, item: Item) -> None:
        super().__setitem__(key, item)
        if isinstance(item, Expression) and item.get_config().startswith(("$import ", "$from ")):
            self._imports[key] = item

    def items(self) -> Any:
        return self._imports.items()

    def __reduce__(self) -> Any:
        return _Items, (), None, None, iter(super().items())


class _Names(dict):
    """The names of expressions. They are imported again in a process that this is sent to: modules do not travel."""

    def __init__(self, imported: Mapping[str, str]) -> None:
        super().__init__({name: locate(dotted) for name, dotted in imported.items()})
        self.imported = dict(imported)

    def __reduce__(self) -> Any:
        return _Names, (self.imported,)


class _Resolver(Resolver):
    """sparkwheel's resolver, which can also forget."""

    def __init__(self) -> None:
        super().__init__()
        self._items = _Items()
        self._written: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the objects that were made: a module's `Deferred` optimizer would take trainer and data along.

        Networks stay: an optimizer that refers to one is to train that of the copied module, and not a new one.
        """
        items = _Items()
        for path, item in dict.items(self._items):
            items[path] = copy.copy(item)
            items[path].update_config(self._written[path])  # in which resolving puts the objects
        kept = {path: made for path, made in self._resolved.items() if _is_network(made)}
        return {**self.__dict__, "_resolved": kept, "_items": items}

    def add_item(self, item: Item) -> None:
        """Take a definition, and keep it as it was written."""
        super().add_item(item)
        self._written[item.get_id()] = item.get_config()

    def resolve(self, id: str = "", *args: Any, **kwargs: Any) -> Any:
        """The object at a path, after all that it refers to: sparkwheel itself follows a chain of 100 at most."""
        for needed in self._needed(id):
            super().resolve(needed, *args, **kwargs)
        return super().resolve(id, *args, **kwargs)

    def _needed(self, path: str) -> Iterator[str]:
        """Yield all direct and indirect references of a path, in the order in which they are made; up to a circle."""
        seen: set[str] = set()
        trail = {path: self._references(path)}
        while trail:
            here, references = next(reversed(trail.items()))
            reference = next((each for each in references if each not in seen), None)
            if reference is None:
                del trail[here]
                seen.add(here)
                if here != path and here not in self._resolved:
                    yield here
            elif reference in trail:  # sparkwheel tells
                return
            else:
                trail[reference] = self._references(reference)

    @classmethod
    def match_refs_pattern(cls, value: str) -> dict[str, int]:
        """Find the references of a value."""
        return dict.fromkeys(referred(value), 1)

    @classmethod
    def update_refs_pattern(cls, value: str, refs: dict[str, Any]) -> Any:
        """Leave expressions as they are: they look up the values themselves."""
        return value if value.startswith("$") else super().update_refs_pattern(value, refs)

    def _references(self, path: str) -> Iterator[str]:
        item = self._items.get(path)
        if item is None or path in self._resolved:  # of a path that is not there, sparkwheel tells
            return iter(())
        return iter(self.find_refs_in_config(item.get_config(), path))

    def knows(self, path: str) -> bool:
        """Whether the resolver was told of a path."""
        return path in self._items

    def made(self) -> Iterator[tuple[str, Any]]:
        """What was made so far, by path."""
        yield from self._resolved.items()

    def forget(self, path: str, *, below: bool = True) -> None:
        """Drop what is known of a path, and of all below it, and what was made from it."""
        for store in (self._items, self._resolved):
            for key in [key for key in store if key == path or (below and key.startswith(path + SEPARATOR))]:
                del store[key]


def place(path: str) -> Location:
    """Sparkwheel's errors carry this; it tells which path of the config they are about."""
    return Location(filepath="config", line=1, id=path)


def _enabled(value: Any) -> Any:
    """The same without what is in disabled definitions, so that none of it is built."""
    if isinstance(value, dict):
        if "_target_" in value and str(value.get("_disabled_")).lower() == "true":
            return {"_target_": value["_target_"], "_disabled_": True}
        return {key: _enabled(child) for key, child in value.items()}
    return [_enabled(child) for child in value] if type(value) is list else value


def _is_network(made: Any) -> bool:
    """Return whether it is a module or a tensor of torch's, which is imported if there is one."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(made, (torch.nn.Module, torch.Tensor))


def _import_names(node: Node | None) -> _Names:
    """The names that expressions may use: `_imports_: {np: numpy, Path: pathlib.Path}`."""
    imported: dict[str, str] = {}
    problems: list[Problem] = []
    for name, child in (node.value if node is not None and isinstance(node.value, dict) else {}).items():
        path = join("_imports_", name)
        try:
            found = locate(child.value)
        except pydoc.ErrorDuringImport as error:
            failure = as_exception(error.value or error, str(child.value))
            add_note(failure, f"while `{child.value}` was imported for `{path}` ({child.origin})")
            raise failure from failure.__cause__
        if found is None:
            message, hint = why_not_found(child.value, child.origin.source)
            problems.append(Problem(message, child.origin, path, hint))
        imported[str(name)] = child.value
    if problems:
        raise ConfigError(problems)
    return _Names(imported)
