"""The allow-list of safe mode: exact names that may be called, checked again by identity.

A name is looked up as it is written, before anything is imported. What is then found under it must be a class or a
function of the package that the name says, under the name that it has itself; a module or a dispatcher never is.
The list grows only by what trusted code or the command line adds: no config, checkpoint or environment is asked.
"""

from __future__ import annotations

import builtins
import copy
import functools
import importlib
import operator
import os
import pkgutil
import pydoc
import re
import runpy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from lighter.config.locate import locate
from lighter.config.problems import Problem, closest, shortened
from lighter.config.safe import paths
from lighter.config.signatures import BY_POSITION, parameters_of
from lighter.config.tree import Origin, Source
from lighter.errors import ConfigError
from lighter.lightning_alias import canonical

_SHIPPED = Path(__file__).parent / "allowed.txt"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
_OF_RUNS = ("ckpt_path", "run::dir")
_LIGHTNING = {"pytorch_lightning", "lightning", "lightning_fabric"}
_DISPATCHERS: tuple[Any, ...] = (
    *(getattr(builtins, name) for name in ("eval", "exec", "compile", "__import__", "getattr", "setattr", "delattr")),
    *(getattr(builtins, name) for name in ("map", "filter", "open", "vars", "globals", "locals", "breakpoint", "type")),
    *(functools.partial, functools.partialmethod, functools.reduce, functools.singledispatch, functools.wraps),
    *(operator.methodcaller, operator.attrgetter, operator.call if hasattr(operator, "call") else operator.attrgetter),
    *(importlib.import_module, importlib.__import__, pydoc.locate, pydoc.resolve, pydoc.safeimport),
    *(pkgutil.resolve_name, runpy.run_path, runpy.run_module, os.system, os.popen),
)


class RefusedError(Exception):
    """Something that safe mode does not permit; `hint` is the entry that would permit it, or why none does."""

    def __init__(self, message: str, hint: str = "", argument: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.argument = argument


@dataclass(frozen=True)
class Entry:
    """One name of the list.

    Attributes:
        rules: of some arguments, by name: `path`, `part` or `refused`.
        given: the object itself, where Python code gave it.
        shipped: whether it is ours; otherwise the user vouches for what the name leads to.
    """

    name: str
    rules: Mapping[str, str] = field(default_factory=dict)
    given: Any = None
    shipped: bool = False


class SafeMode:
    """Rules of safe mode: the names that an untrusted config may call, and the files that it may read and write.

    Args:
        allow: what it may call beside the list that is shipped: exact names, `package.module.Class`, or classes and
            functions themselves.
        allow_files: files of such names, one a line, written as the shipped list is.
        roots: folders in which files may be, beside those of the configs and of the runs.
        project: a folder of yours that is imported as the package `project`; what may be called of it is in `allow`.

    Raises:
        ConfigError: an entry is no exact name, a file cannot be read, a folder is not there.
    """

    def __init__(
        self,
        allow: Iterable[str | Callable[..., Any]] = (),
        *,
        allow_files: Iterable[str | Path] = (),
        roots: Iterable[str | Path] = (),
        project: str | Path | None = None,
    ) -> None:
        problems: list[Problem] = []
        self.added = [_entry(item, problems) for item in allow]
        for file in allow_files:
            self.added += _read(Path(file), problems, shipped=False)
        shipped = {entry.name: entry for entry in _read(_SHIPPED, problems, shipped=True)}
        self.roots = [_folder(root, problems) for root in roots]
        # Checkpoints are read from where runs are; a run writes into its own folder only.
        self.runs: list[Path] = []
        self.project = None if project is None else _folder(project, problems)
        if problems:
            raise ConfigError(problems)
        # naming once more what is on the list does not lift what the list says of it; saying otherwise does
        self._entries = {**{entry.name: entry for entry in self.added}, **shipped}
        self._entries |= {entry.name: entry for entry in self.added if entry.rules or entry.given is not None}

    def within(self, roots: Iterable[Path], runs: Iterable[Path] = ()) -> SafeMode:
        """Return the same with more folders in which files may be, or, resolved, in which runs are."""
        wider = copy.copy(self)
        # Links followed, as those of a path are before it is compared.
        wider.roots = list(dict.fromkeys([*self.roots, *(Path(os.path.realpath(root)) for root in roots)]))
        wider.runs = [*self.runs, *runs]
        return wider

    def __str__(self) -> str:
        # For the record of a run.
        project = [f"project {self.project}"] * (self.project is not None)
        return ", ".join([*(entry.name for entry in self.added), *project]) or "nothing"

    def names(self) -> list[str]:
        """Return all names that may be called."""
        return sorted(self._entries)

    def permits(self, name: object) -> bool:
        """Return whether a name is on the list, letter by letter."""
        return type(name) is str and canonical(name) in self._entries

    def rule(self, name: str, argument: str) -> str | None:
        """Return what an argument of something on the list must be; None where it is free."""
        return self._entries[canonical(name)].rules.get(argument) or paths.rule_of(argument)

    def refusal(self, name: object) -> RefusedError:
        """Return what to say of a name that is not on the list."""
        shown = shortened(str(name), 100)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return RefusedError(f"`{shown}` is no exact name of something that safe mode could permit")
        same = [known for known in self._entries if known.rpartition(".")[2] == name.rpartition(".")[2]]
        close = closest(canonical(name), same)
        hint = f"If you know what it does and trust it, permit it: --allow {name}"
        return RefusedError(f"safe mode does not call `{shown}`: it is not on the list", f"{close}\n{hint}".strip())

    def locate(self, name: Any) -> Any:
        """Return the class, function or constant of a name on the list; None where nothing is installed under it."""
        if not self.permits(name):
            raise self.refusal(name)
        entry = self._entries[canonical(name)]
        target = entry.given if entry.given is not None else locate(name)
        wrong = None if target is None else _misnomer(entry, target)
        if wrong is not None:
            raise RefusedError(f"safe mode does not call `{name}`: {wrong}")
        return target

    def check_call(self, name: str, target: Any, args: Sequence[Any], kwargs: Mapping[str, Any], mode: object) -> None:
        """Check a call of something on the list, with the values that it is about to get."""
        if mode not in ("default", "callable"):
            raise RefusedError("safe mode makes an object, or with `_mode_: callable` a partial", argument="_mode_")
        parameters = (parameters_of(target) or {}).values()
        by_position = [item.name for item in parameters if item.kind in BY_POSITION]
        if mode == "callable" and any(self.rule(name, item.name) for item in parameters):
            raise RefusedError(f"`{name}` takes a path, so safe mode leaves no call of it to others", argument="_mode_")
        if len(args) > len(by_position) and self._entries[canonical(name)].rules:
            raise RefusedError(f"safe mode cannot tell which arguments of `{name}` these are; name them", "", "_args_")
        named = [*by_position, *["_args_"] * len(args)][: len(args)]
        for argument, value in [*zip(named, args, strict=True), *kwargs.items()]:
            self.check_argument(name, str(argument), value)

    def check_argument(self, name: str, argument: str, value: object) -> None:
        rule = self.rule(name, argument)
        wrong = None
        if rule == paths.REFUSED:
            raise RefusedError(f"safe mode does not let a config set `{argument}` of `{name}`", argument=argument)
        if rule == paths.PATH:
            self.check_path(value, argument)
        elif rule == paths.PART:
            wrong = paths.leads_out(value)
        elif any(paths.is_url(text) for text in _strings(value)):
            wrong = "it is a URL, and safe mode fetches nothing"
        if wrong is not None:
            raise RefusedError(f"safe mode does not permit this value of `{argument}`: {wrong}", argument=argument)

    def check_path(self, value: object, argument: str) -> None:
        """Check that a path, or all in a list or dict, lie in the roots."""
        roots = [*self.roots, *(self.runs if argument in _OF_RUNS else ())]
        wrong = paths.outside(value, roots)
        if wrong is not None:
            hint = f"These are: {', '.join(map(str, roots)) or 'none'}. For another: --allow_root FOLDER"
            raise RefusedError(f"safe mode does not permit this path: {wrong}", hint, argument)


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif type(value) in (list, tuple):
        for inner in value:
            yield from _strings(inner)
    elif type(value) is dict:
        for inner in value.values():
            yield from _strings(inner)


def _misnomer(entry: Entry, target: object) -> str | None:
    if isinstance(target, ModuleType):
        return "it is a module"
    if any(target is dispatcher for dispatcher in _DISPATCHERS):
        return "it calls whatever it is given, so permitting it would permit everything"
    # What the user has added may be a re-export or a wrapper; they vouch for it.
    if not entry.shipped:
        return None
    # In another version of the package, the name may stand for something else.
    home = _home(target)
    named = entry.name.partition(".")[0]
    if home != named and not {home, named} <= _LIGHTNING:
        return f"what stands there now is of `{home}`"
    name = getattr(target, "__name__", None)
    if callable(target) and name is not None and name.lstrip("_") != entry.name.rpartition(".")[2]:
        return f"what stands there now is `{name}`"
    return None


def _home(target: object) -> str:
    if not callable(target):
        # A float is a constant of `math`; others are of the module of their class.
        kind = type(target)
        return "math" if kind is float else kind.__module__.partition(".")[0]
    owner = getattr(target, "__objclass__", target)  # of a method
    module = getattr(owner, "__module__", None) or type(getattr(target, "__self__", None)).__module__
    return str(module).partition(".")[0]


def _entry(item: Any, problems: list[Problem]) -> Entry:
    if not isinstance(item, str) and callable(item):
        return Entry(canonical(f"{item.__module__}.{item.__qualname__}"), given=item)
    source = Source("--allow", str(item))
    return _parsed(str(item), Origin(source), problems, shipped=False)


def _read(path: Path, problems: list[Problem], *, shipped: bool) -> list[Entry]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(f"this list cannot be read: {error}", Origin(Source(str(path), is_unread=True))))
        return []
    source = Source(str(path), text, path.parent, is_file=True)
    lines = [(number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1)]
    return [_parsed(line, Origin(source, number), problems, shipped=shipped) for number, line in lines if line]


def _parsed(line: str, origin: Origin, problems: list[Problem], *, shipped: bool) -> Entry:
    name, *written = line.split() or [""]
    rules = {argument: rule for argument, _, rule in (word.partition("=") for word in written)}
    if not _NAME.fullmatch(name) or not all(rule in paths.RULES for rule in rules.values()):
        message = (
            "an entry is one exact name, `package.module.Class`; it may be followed by `argument=path|part|refused`"
        )
        problems.append(Problem(message, origin, hint="There are no patterns: `torch.*` would permit torch.load."))
    return Entry(canonical(name), rules, shipped=shipped)


def _folder(path: str | Path, problems: list[Problem]) -> Path:
    real = Path(os.path.realpath(os.path.expanduser(path)))
    if not real.is_dir():
        problems.append(Problem(f"there is no folder {path}", Origin(Source("--allow_root, --allow_project"))))
    return real
