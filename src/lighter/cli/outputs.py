"""Files that a command is told to write: their names, and the message where one cannot be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


def named(_: click.Context, __: click.Parameter, name: str | None) -> Path | None:
    """Return the path that `-o` names; None for stdout, whose name is `-`."""
    if name == "":
        raise click.BadParameter("a file has a name; this is empty")
    return None if name is None or name == "-" else Path(name)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """End the command with a message and exit code 2 where a file cannot be written."""
    try:
        yield
    except OSError as error:  # not exit code 1, which says that something is left to do
        # the folder that cannot be made, as a file has its name, is what exists
        is_below_file = isinstance(error, FileExistsError) and not path.exists()
        reason = os.strerror(errno.ENOTDIR) if is_below_file else error.strerror or error
        error.filename = str(path)  # the system has none for a full disk, or names a folder above
        raise click.UsageError(f"{path} cannot be written: {reason}") from error
