"""The user's own code, importable: the working directory, and a folder as the package `project`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lighter.config import Config
from lighter.config.problems import Problem
from lighter.errors import ConfigError

MARKER = "__lighter__.py"
_STAND_IN = Path(__file__).parent / "project_path"


def make_importable(config: Config, working_directory: Path) -> Path | None:
    """Put the working directory and the project, if there is one, where Python looks for modules.

    The project is the folder that `project:` names, relative to the file that says so, or else the working directory
    if it has a file `__lighter__.py`.

    Returns:
        The project's folder.

    Raises:
        ConfigError: `project` names no folder.
    """
    if str(working_directory) not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(working_directory))
    folder = project_folder(config, working_directory)
    if os.environ.get("LIGHTER_PROJECT") != (str(folder) if folder else None):
        _forget()
    if folder is not None:
        os.environ["LIGHTER_PROJECT"] = str(folder)
        if str(_STAND_IN) not in sys.path:
            sys.path.insert(0, str(_STAND_IN))
    return folder


def project_folder(config: Config, working_directory: Path) -> Path | None:
    """The folder that `project:` names, or else the working directory if it has the marker.

    Raises:
        ConfigError: `project` names no folder.
    """
    return _named(config) or (working_directory if (working_directory / MARKER).is_file() else None)


def _forget() -> None:
    """Forget the project of an earlier run of this process."""
    os.environ.pop("LIGHTER_PROJECT", None)
    if str(_STAND_IN) in sys.path:
        sys.path.remove(str(_STAND_IN))
    for name in [name for name in sys.modules if name == "project" or name.startswith("project.")]:
        del sys.modules[name]


def _named(config: Config) -> Path | None:
    node = config.merged.child("project")
    if node is None or not isinstance(node.value, str):
        return None
    folder = (node.origin.source.folder / Path(node.value).expanduser()).resolve()
    if not folder.is_dir():
        raise ConfigError([Problem(f"there is no folder {folder}", node.origin, "project")])
    return folder
