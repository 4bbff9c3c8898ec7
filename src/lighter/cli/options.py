"""The arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lighter.cli.completion import of_inputs
from lighter.files.storage import is_remote, normal

if TYPE_CHECKING:
    from lighter.config.safe import SafeMode

Function = TypeVar("Function", bound=Callable[..., Any])
EPILOG = "Overrides: key::path=VALUE merges or sets, =key::path=VALUE replaces, ~key::path deletes; values are YAML."
SAFE_MODE = ("safe", "allow", "allow_file", "allow_root", "allow_project")

inputs = click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", shell_complete=of_inputs)
with_traceback = click.option("--traceback", is_flag=True, help="If it fails, show all frames, those of Lighter too.")
"""For every command that runs the user's code, as its failures are shown with a hint at this option."""


def together(*decorators: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """Join decorators into one, the first of which is the outermost."""

    def decorate(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


with_safe_mode = together(
    click.option(
        "--safe", is_flag=True, help="An untrusted config: call only what is on a list. One from a URL always is."
    ),
    click.option("--allow", metavar="NAME", multiple=True, help="Safe mode: package.module.Class may be called too."),
    click.option("--allow_file", metavar="FILE", multiple=True, help="Safe mode: a list of names that may be called."),
    click.option("--allow_root", metavar="FOLDER", multiple=True, help="Safe mode: files may be in this folder too."),
    click.option("--allow_project", metavar="FOLDER", help="Safe mode: import this folder as `project`."),
)


def safe_mode(options: Mapping[str, Any]) -> SafeMode | None:
    """Return the mode that the options of safe mode ask for; any of them does."""
    if not any(options.get(key) for key in SAFE_MODE):
        return None
    from lighter.config.safe import SafeMode

    files, roots, project = (options.get(key) for key in SAFE_MODE[2:])
    return SafeMode(options.get("allow") or (), allow_files=files or (), roots=roots or (), project=project or None)


def disk_path(text: str) -> Path:
    if is_remote(text):
        raise click.BadParameter(f"this is read and written on a disk; {text} is in another storage")
    return Path(normal(text))


in_folder = click.option(
    "--dir", "root", default="outputs", show_default=True, metavar="FOLDER", help="Where the runs are.", type=disk_path
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs; all else goes to stderr.")
