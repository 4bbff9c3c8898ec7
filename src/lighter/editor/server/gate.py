"""Refuse to import code of the workspace, which its user has not trusted yet. Only the standard library is used here.

Installed packages stay importable, a virtual environment in the workspace included. A module of the workspace neither
shadows one of them, nor is it imported by its own name.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_ALWAYS = ("lighter",)  # it is what runs, though its developers have it in their workspace


class NotTrustedError(ImportError):
    """A module of the workspace is not imported until the workspace is trusted."""


class Gate(MetaPathFinder):
    """The first finder of an untrusted worker.

    Args:
        roots: the folders of the workspace and of its configs.
    """

    def __init__(self, roots: Iterable[str]) -> None:
        self.roots = [os.path.realpath(root) for root in roots]
        self.removed = [entry for entry in sys.path if is_of_workspace(entry, self.roots)]

    def install(self) -> None:
        """Take the workspace off `sys.path`, and refuse what is found there by other means: an editable install."""
        sys.path[:] = outside(sys.path, self.roots)
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] in _ALWAYS:
            return None
        spec = _first(finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        is_of_user = any(is_of_workspace(place, self.roots) for place in _places(spec))
        if is_of_user or (spec is None and path is None and self._is_in_workspace(name)):
            raise NotTrustedError(f"`{name}` is code of this folder, which is not trusted")
        return spec

    def _is_in_workspace(self, name: str) -> bool:
        return name == "project" or PathFinder.find_spec(name, [*self.roots, *self.removed]) is not None


def outside(entries: Iterable[str], roots: Sequence[str]) -> list[str]:
    """Return the entries of a `sys.path` from which no code of a workspace is imported."""
    return [entry for entry in entries if os.path.isabs(entry) and not is_of_workspace(entry, roots)]


def is_of_workspace(place: str, roots: Iterable[str]) -> bool:
    """Return whether a file or folder lies in the workspace, and in none of the folders of installed packages there."""
    real = os.path.realpath(place)
    return _is_in(real, roots) and not _is_in(real, _installed())


def is_of_user(place: str) -> bool:
    """Return whether a module's file is of no installed package, and so may be edited."""
    # the first answers for thousands of modules without asking the disk for links
    return not _is_in(place, _installed()) and not _is_in(os.path.realpath(place), _installed())


def _is_in(real: str, folders: Iterable[str]) -> bool:
    return any(real == folder or real.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)


@cache
def _installed() -> list[str]:
    paths = [sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    return [os.path.realpath(path) for path in (*paths, *site.getsitepackages(), site.getusersitepackages())]


def _places(spec: ModuleSpec | None) -> list[str]:
    if spec is None:
        return []
    origin = [spec.origin] if spec.has_location and spec.origin else []
    return [*origin, *(spec.submodule_search_locations or ())]


def _first(specs: Iterable[ModuleSpec | None]) -> ModuleSpec | None:
    return next((spec for spec in specs if spec is not None), None)
