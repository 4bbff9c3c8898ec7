"""Modules, classes and functions of Python, found by their dotted names without importing any of them.

Modules are found as the import system finds them; what is in one is read from its syntax tree, through the imports by
which packages offer the classes of their modules. What a module makes while it runs is not seen.
"""

from __future__ import annotations

import ast
import os
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import NamedTuple

from lighter.lightning_alias import canonical

MODULE, CLASS, FUNCTION = "module", "class", "function"
_MOST_HOPS = 20


class Member(NamedTuple):
    """A name in a module, and what it is."""

    name: str
    kind: str


class Location(NamedTuple):
    """The file and line, from 1, where a name is defined, and what it is."""

    file: str
    line: int
    kind: str


@dataclass
class _Contents:
    """The names of a module.

    Attributes:
        defined: classes and functions, with their syntax trees.
        imported: names that are taken from elsewhere: the dotted names there.
        starred: the modules all of whose public names are taken.
        offered: `__all__`, if it is written out.
    """

    defined: dict[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef] = field(default_factory=dict)
    imported: dict[str, str] = field(default_factory=dict)
    starred: list[str] = field(default_factory=list)
    offered: list[str] | None = None


class Names:
    """The names that can be imported with some `sys.path`.

    Args:
        path: the folders, the first of which is that of the user.
        project: the folder that is importable as `project`.
    """

    def __init__(self, path: Sequence[str], project: Path | None = None) -> None:
        self.path, self.project = tuple(path), project

    def members(self, dotted: str) -> list[Member]:
        """Return the modules, classes and functions below a dotted name; of the empty one, all packages."""
        if not dotted:
            project = [Member("project", MODULE)] if self.project is not None else []
            return [*project, *(Member(name, MODULE) for name in _modules(self.path))]
        spec = self.spec(dotted) or self.spec(canonical(dotted))
        if spec is None:
            return []
        inside = _modules(tuple(spec.submodule_search_locations or ()))
        below = {name: Member(name, MODULE) for name in inside if not name.startswith("_")}
        return [*below.values(), *sorted(each for each in self._own(spec, set()) if each.name not in below)]

    def find(self, dotted: str) -> Location | None:
        """Return where a class, function or module is defined; None where that cannot be read."""
        location = self._find(dotted, _MOST_HOPS)
        return location if location is not None or canonical(dotted) == dotted else self._find(canonical(dotted), 20)

    def spec(self, dotted: str) -> ModuleSpec | None:
        """Return the spec of a module, whose packages are not imported either."""
        spec: ModuleSpec | None = None
        name = ""
        for step in dotted.split("."):
            name = f"{name}.{step}" if name else step
            if name == "project" and self.project is not None:
                spec = ModuleSpec(name, None, is_package=True)
                spec.submodule_search_locations = [str(self.project)]
                continue
            folders = self.path if spec is None else spec.submodule_search_locations
            spec = _spec(name, tuple(folders)) if folders else None
            if spec is None:
                return None
        return spec

    def files(self, dotted: str) -> Iterator[str]:
        """Yield the files of the packages and the module in which a dotted name is, whether they can be read or not."""
        steps = dotted.split(".")
        for count in range(1, len(steps) + 1):
            spec = self.spec(".".join(steps[:count]))
            if spec is None:
                return
            if spec.has_location and spec.origin:
                yield spec.origin

    def _find(self, dotted: str, hops: int) -> Location | None:
        steps = dotted.split(".")
        for count in range(len(steps), 0, -1):
            spec = self.spec(".".join(steps[:count]))
            if spec is not None:
                if count == len(steps):
                    return Location(spec.origin, 1, MODULE) if spec.has_location and spec.origin else None
                return self._in_module(spec, steps[count:], hops)
        return None

    def _in_module(self, spec: ModuleSpec, steps: list[str], hops: int) -> Location | None:
        contents, (first, *rest) = _contents_of(spec), steps
        if hops < 0 or contents is None:
            return None
        if first in contents.defined:
            node: ast.AST | None = contents.defined[first]
            for step in rest:
                node = next((each for each in getattr(node, "body", ()) if getattr(each, "name", None) == step), None)
            kind = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
            return Location(str(spec.origin), node.lineno, kind) if isinstance(node, ast.stmt) else None
        if first in contents.imported:
            return self._find(".".join([contents.imported[first], *rest]), hops - 1)
        for module in contents.starred:
            found = self._find(".".join([module, *steps]), hops - len(contents.starred))
            if found is not None:
                return found
        return None

    def _own(self, spec: ModuleSpec, seen: set[str]) -> Iterator[Member]:
        contents = _contents_of(spec)
        if contents is None or spec.name in seen:
            return
        seen.add(spec.name)
        yield from (Member(name, _kind(node)) for name, node in contents.defined.items() if not name.startswith("_"))
        is_package = spec.submodule_search_locations is not None
        for name in contents.imported if is_package or contents.offered else ():
            is_offered = name in contents.offered if contents.offered is not None else name[:1].isupper()
            if is_offered and name not in contents.defined:
                yield Member(name, CLASS if name[:1].isupper() else FUNCTION)
        for module in contents.starred:
            other = self.spec(module)
            yield from self._own(other, seen) if other is not None else ()


def _kind(node: ast.AST) -> str:
    return CLASS if isinstance(node, ast.ClassDef) else FUNCTION


def _modules(folders: tuple[str, ...]) -> list[str]:
    return list(_listed(folders, tuple(_changed(folder) for folder in folders)))


@lru_cache(maxsize=256)
def _listed(folders: tuple[str, ...], changed: tuple[int, ...]) -> tuple[str, ...]:
    # The standard library has hundreds, and its folder comes with those of the packages.
    return tuple(sorted({module.name for module in pkgutil.iter_modules(list(folders)) if module.name.isidentifier()}))


def _changed(file: str) -> int:
    with suppress(OSError):
        return os.stat(file).st_mtime_ns
    return 0


def _spec(name: str, folders: tuple[str, ...]) -> ModuleSpec | None:
    spec = PathFinder.find_spec(name, list(folders))
    if spec is None and "." not in name:  # an editable install, whose finder says where its package is
        others = (finder for finder in sys.meta_path if getattr(finder, "__module__", "").startswith("__editable__"))
        spec = next((found for finder in others if (found := finder.find_spec(name, None)) is not None), None)
    return spec


def _contents_of(spec: ModuleSpec) -> _Contents | None:
    file = spec.origin if spec.has_location else None
    if file is None and spec.submodule_search_locations:  # `project`, which may have no `__init__.py`
        file = next((f"{folder}/__init__.py" for folder in spec.submodule_search_locations), None)
    if file is None or not file.endswith((".py", ".pyi")):
        return None
    return _contents(file, spec.name, spec.submodule_search_locations is not None, _changed(file))


@lru_cache(maxsize=2048)
def _contents(file: str, module: str, is_package: bool, changed: int) -> _Contents | None:
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    contents = _Contents()
    package = module if is_package else module.rpartition(".")[0]
    for node in _statements(tree.body):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            contents.defined.setdefault(node.name, node)
        elif isinstance(node, ast.ImportFrom):
            _add_imports(contents, node, package)
        elif isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
            _add_offered(contents, node)
    return contents


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    # `if TYPE_CHECKING:` and `try:` hold imports too
    for node in body:
        yield node
        for name in ("body", "orelse", "handlers", "finalbody"):
            inner = getattr(node, name, ()) if isinstance(node, (ast.If, ast.Try, ast.ExceptHandler, ast.With)) else ()
            yield from _statements(inner)


def _add_imports(contents: _Contents, node: ast.ImportFrom, package: str) -> None:
    steps = package.split(".") if package else []
    base = steps[: len(steps) - node.level + 1] if node.level else []
    origin = ".".join([*base, *([node.module] if node.module else [])])
    for alias in node.names:
        if alias.name == "*":
            contents.starred.append(origin)
        else:
            contents.imported.setdefault(alias.asname or alias.name, f"{origin}.{alias.name}")


def _add_offered(contents: _Contents, node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> None:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
        written = node.value.elts if isinstance(node.value, (ast.List, ast.Tuple)) else []
        names = [each.value for each in written if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        contents.offered = [*(contents.offered or []), *names]
