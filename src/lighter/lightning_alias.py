"""One Lightning in a process: `lightning.pytorch` and `pytorch_lightning` are two names of the same modules.

Lightning comes in two packages that are built from the same source. Loaded side by side, their classes differ, and a
module of one does not run in the other's trainer. Where Lighter uses Lightning, a finder on `sys.meta_path` gives the
modules of the package that was imported first under the names of the other one too. Where the versions differ, or both
were loaded before, it does nothing, and classes of the second copy are refused by name: see `refusal`.

Neither torch nor Lightning is imported here, before somebody asks for it.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from types import ModuleType

from lighter.errors import ModuleTypeError

_SPELLINGS = {"lightning.pytorch": "pytorch_lightning", "lightning.fabric": "lightning_fabric"}
_COUNTERPARTS = {**_SPELLINGS, **{name: other for other, name in _SPELLINGS.items()}}
# The third may be part of the second.
_DISTRIBUTIONS = ("lightning", "pytorch-lightning", "lightning-fabric")
_SAVING = tuple(f"{package}.core.saving" for package in ("lightning.pytorch", "pytorch_lightning"))
_INHERITED = "LIGHTER_LIGHTNING_ALIAS"  # read by `lighter/__init__.py`


def install() -> None:
    """Make the two packages one, in this process and in those that it starts."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for name in _SAVING:
        if name in sys.modules:
            _allow_instantiators(sys.modules[name])
    # A spawned worker or rank imports the user's modules before it calls anything.
    if _INHERITED not in os.environ:
        os.environ[_INHERITED] = "1"


def canonical(name: str) -> str:
    """Return a dotted name in the spelling of `pytorch_lightning` and `lightning_fabric`."""
    package = _package(name)
    return _SPELLINGS.get(package, package) + name[len(package) :]


def refusal(kind: type) -> tuple[str, str] | None:
    """Return message and hint for a class of a copy of Lightning that Lighter does not use; None for any other."""
    for base in kind.__mro__:
        package = _package(base.__module__)
        used = sys.modules.get(canonical(package))
        if package and used is not None and used.__name__ != package:
            return _second_copy(kind, package, used.__name__)
    return None


def refuse_second_copies(objects: Iterable[object]) -> None:
    """Raise a `ModuleTypeError` if something is of a copy of Lightning that Lighter does not use."""
    for each in objects:
        wrong = refusal(type(each))
        if wrong is not None:
            raise ModuleTypeError("\n".join(wrong))


def _second_copy(kind: type, package: str, used: str) -> tuple[str, str]:
    versions = _versions()
    message = f"{kind.__module__}.{kind.__qualname__} is of `{package}`, and Lighter runs `{used}` here"
    if len(set(versions.values())) > 1:
        shown = ", ".join(f"{name} {version}" for name, version in versions.items())
        hint = f"Install the same: pip install lightning=={versions.get('pytorch-lightning')}"
        return f"{message}: the versions differ ({shown})", hint
    hint = "Import `lighter.Trainer` or `lighter.Runner` before one of them, or import only one of them."
    return f"{message}: both packages were imported before Lighter", hint


def _package(name: str) -> str:
    return next((package for package in _COUNTERPARTS if name == package or name.startswith(f"{package}.")), "")


@cache
def _versions() -> dict[str, str]:
    from importlib import metadata  # as slow as the rest of `import lighter`

    versions = {}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _is_loaded(package: str) -> bool:
    # As itself, and not as another name of its counterpart.
    module = sys.modules.get(package)
    return module is not None and module.__name__ == package


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package = _package(fullname)
        if fullname in _SAVING and _is_loaded(package):
            spec = PathFinder.find_spec(fullname, path)
            if spec is not None and isinstance(spec.loader, SourceFileLoader):
                spec.loader = _SavingLoader(fullname, spec.loader.path)
            return spec
        if not package or _is_loaded(package) or not _is_loaded(_COUNTERPARTS[package]):
            return None
        if len(set(_versions().values())) > 1:
            return None
        name = _COUNTERPARTS[package] + fullname[len(package) :]
        original = sys.modules[name].__spec__ if name in sys.modules else find_spec(name)
        if original is None and name not in sys.modules:
            return None
        spec = ModuleSpec(fullname, _Loader(name), origin=getattr(original, "origin", None))
        spec.submodule_search_locations = getattr(original, "submodule_search_locations", None)
        return spec


class _Loader(Loader):
    def __init__(self, name: str) -> None:
        self._name = name
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has exchanged it for that of the other name.
        module.__spec__ = self._spec
        if self._name in _COUNTERPARTS:
            _alias_loggers(self._name)


class _SavingLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        _allow_instantiators(module)


def _allow_instantiators(saving: ModuleType) -> None:
    """Let `load_from_checkpoint` take checkpoints of a `LightningCLI` of either package."""
    # Private: a checkpoint names the function that makes the module, and `pytorch_lightning` has its own name twice in
    # the list of those that it allows, as the two packages are made from one source by replacing one name by the other.
    allowed = getattr(saving, "_ALLOWED_INSTANTIATORS", None)  # since Lightning 2.6.2
    if isinstance(allowed, set):
        allowed.update(f"{package}.cli.instantiate_module" for package in ("lightning.pytorch", "pytorch_lightning"))


def _alias_loggers(package: str) -> None:
    # Who silences `lightning.pytorch` means the loggers that the modules use under their own names.
    known = logging.Logger.manager.loggerDict
    for name, logger in list(known.items()):
        if isinstance(logger, logging.Logger) and _package(name) == package:
            known[_COUNTERPARTS[package] + name[len(package) :]] = logger
