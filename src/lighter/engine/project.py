"""Make the user's own code importable: the working directory, and a folder as the package `project`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from lighter.config import Config
from lighter.config.problems import Problem
from lighter.config.safe import SafeMode, guard, import_path
from lighter.config.tree import Node
from lighter.errors import ConfigError

MARKER = "__lighter__.py"
_STAND_IN = Path(__file__).parent / "project_path"


def as_safe_mode(safe: SafeMode | bool | None) -> SafeMode | None:
    return (SafeMode() if safe else None) if isinstance(safe, bool) else safe


def confined(config: Config, folders: Iterable[Path] = ()) -> AbstractContextManager[None]:
    """In safe mode, refuse writes to other folders than the config's and these, which are without links."""
    return nullcontext() if config.safe is None else guard.writes_only_in([*config.safe.roots, *folders])


@contextmanager
def importable(config: Config, working_directory: Path) -> Iterator[Path | None]:
    """Make the user's code importable; in safe mode only a project that was permitted."""
    if config.safe is None:
        yield make_importable(config, working_directory)
        return
    # Safe mode looks for modules neither in the working directory nor in the config's folder, here and in the processes
    # of this run, unless the user's PYTHONPATH says so.
    with import_path.without(config.safe.roots):
        permitted, node = config.safe.project, _project_node(config)
        # Whether the folder exists or not: an untrusted config is not to find out.
        if node is not None and _folder(node) != permitted:
            message = f"safe mode imports no folder but the one that was permitted, {permitted}"
            raise ConfigError([Problem(message, node.origin, "project")])
        yield _provide(permitted)


def make_importable(config: Config, working_directory: Path) -> Path | None:
    """Put the working directory and the project where Python looks for modules, and return the project's folder."""
    if str(working_directory) not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(working_directory))
    return _provide(project_folder(config, working_directory))


def project_folder(config: Config, working_directory: Path) -> Path | None:
    """Return the folder that `project:` names, from the file that says so, or a working directory with a marker."""
    node = _project_node(config)
    if node is None:
        return working_directory if (working_directory / MARKER).is_file() else None
    folder = _folder(node)
    if not os.path.isdir(folder):
        raise ConfigError([Problem(f"there is no folder {folder}", node.origin, "project")])
    return folder


def _project_node(config: Config) -> Node | None:
    node = config.merged.child("project")
    return node if node is not None and isinstance(node.value, str) else None


def _folder(node: Node) -> Path:
    return Path(node.origin.source.folder, os.path.expanduser(node.value)).resolve()


def _provide(folder: Path | None) -> Path | None:
    """Make a folder importable as `project`, or none."""
    is_other = os.environ.get("LIGHTER_PROJECT") != (str(folder) if folder else None)
    file = getattr(sys.modules.get("project"), "__file__", None)
    # a package of this name that the user has installed stays
    is_stand_in = file is not None and Path(file).is_relative_to(_STAND_IN)
    # Forget the project of an earlier run of this process.
    if is_other or (folder is None and is_stand_in):
        os.environ.pop("LIGHTER_PROJECT", None)
        sys.path[:] = [entry for entry in sys.path if entry != str(_STAND_IN)]
        for name in [name for name in sys.modules if name == "project" or name.startswith("project.")]:
            del sys.modules[name]
    if folder is not None:
        os.environ["LIGHTER_PROJECT"] = str(folder)
        if str(_STAND_IN) not in sys.path:
            sys.path.insert(0, str(_STAND_IN))
    return folder
