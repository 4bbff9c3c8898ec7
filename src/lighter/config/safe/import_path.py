"""Keep the folders of an untrusted config off the path that Python imports from.

That is the working directory and the folders of the config, for this process and for all that it starts. `python -c`,
by which multiprocessing starts a process (`spawn`, `forkserver`, its resource tracker), puts the working directory
before the standard library. Only the standard library is imported here.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from multiprocessing import set_executable, spawn
from pathlib import Path


@contextmanager
def without(folders: Iterable[Path]) -> Iterator[None]:
    """Import from none of some folders, nor from the working directory, here and in processes that are started.

    An absolute entry of the user's PYTHONPATH stays, whatever it is. A relative or empty one means the working
    directory of whoever reads it, and goes.
    """
    written = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    theirs = [os.path.abspath(entry) for entry in written if os.path.isabs(entry)]
    relative = [entry for entry in written if not os.path.isabs(entry)]
    refused = {os.path.realpath(folder) for folder in ("", *relative, *map(str, folders))}
    before = list(sys.path), {name: os.environ.get(name) for name in ("PYTHONPATH", "PYTHONSAFEPATH")}
    sys.path[:] = [
        entry
        for entry in before[0]
        if os.path.isabs(entry) and (os.path.abspath(entry) in theirs or os.path.realpath(entry) not in refused)
    ]
    _set({"PYTHONPATH": os.pathsep.join(theirs) or None, "PYTHONSAFEPATH": "1"})
    # Child processes leave the working directory out by themselves if they inherit flags, or read PYTHONSAFEPATH.
    is_isolated = sys.flags.isolated or getattr(sys.flags, "safe_path", False)
    reads_variable = sys.version_info >= (3, 11) and not sys.flags.ignore_environment
    try:
        with nullcontext() if is_isolated or reads_variable else _isolated_children():
            yield
    finally:
        sys.path[:] = before[0]
        _set(before[1])


@contextmanager
def _isolated_children() -> Iterator[None]:
    """Have multiprocessing start Python with `-I`."""
    before = spawn.get_executable()
    # multiprocessing takes the name of an executable, but no flags: so by a script. What it starts gets this process's
    # `sys.path` before anything is imported that is not Python's own.
    with tempfile.TemporaryDirectory(prefix="lighter-") as folder:
        script = Path(folder) / "python"
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I "$@"\n')
        script.chmod(0o700)
        set_executable(str(script))
        try:
            yield
        finally:
            set_executable(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
