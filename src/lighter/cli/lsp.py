"""`lighter lsp`: the language server, which an editor starts and speaks to over stdin and stdout."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from lighter.cli.check import WRONG
from lighter.cli.options import SAFE_MODE, safe_mode, with_safe_mode
from lighter.processes.signals import STOPS


@click.command()
@click.option("--trust", is_flag=True, help="Import code of the workspace, to check the config's targets in it.")
@click.option("--stdio", is_flag=True, hidden=True, help="What many editors add; there is nothing else.")
@with_safe_mode
def lsp(trust: bool, stdio: bool, **options: Any) -> None:
    """Serve an editor over stdin and stdout: the check as one types, completion, hover, definitions, rename.

    Editors start it by themselves: docs/14-editor-and-notebook.md has their settings.
    """
    # `python -m lighter` looks for modules in the working directory first: none of those is ours
    here = os.path.realpath(os.getcwd())
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or ".") != here]
    if sys.stdin.isatty():
        print("This command is for editors, which start it themselves.", file=sys.stderr)
        raise SystemExit(WRONG)
    try:
        from lighter.editor.server.server import create
        from lighter.editor.server.session import Settings
    except ModuleNotFoundError as error:
        if error.name not in ("pygls", "lsprotocol", "cattrs"):
            raise
        print("lighter lsp needs pygls: pip install 'lighter[editor]'", file=sys.stderr)
        raise SystemExit(WRONG) from None
    for signum in STOPS:  # a thread reads stdin until the editor closes it, and nothing here needs an end of its own
        signal.signal(signum, signal.SIG_DFL)
    create(Settings(trust, _as_arguments(options))).start_io()


def _as_arguments(options: dict[str, Any]) -> dict[str, Any] | None:
    """Return the arguments of `SafeMode`, which the worker makes once more; None without safe mode."""
    from lighter.errors import ConfigError

    try:
        if safe_mode(options) is None:
            return None
    except ConfigError as error:
        print(error, file=sys.stderr)
        raise SystemExit(WRONG) from None
    _, allow, files, roots, project = (options.get(key) for key in SAFE_MODE)
    absolute = [str(Path(path).absolute()) for path in (*(files or ()), *(roots or ()))]
    count = len(files or ())
    return {
        "allow": list(allow or ()),
        "allow_files": absolute[:count],
        "roots": absolute[count:],
        "project": str(Path(project).absolute()) if project else None,
    }
