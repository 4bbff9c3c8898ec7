"""Files that are whole when they have their name, and that never take another's."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from lighter.errors import PredictionError


def publish(path: Path, name: Path) -> None:
    """Give a whole file its name, unless another file has it.

    Raises:
        PredictionError: there is one.
    """
    try:
        os.link(path, name)  # unlike a rename, it never takes the place of what is there
    except FileExistsError as error:
        raise PredictionError(f"{name} is there, and nothing is written over; the whole of it is {path}") from error
    except OSError:  # a file system without hard links
        if name.exists():
            raise PredictionError(f"{name} is there, and nothing is written over; the whole of it is {path}") from None
        os.rename(path, name)
    path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """See that a file is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """See that the names in a folder are on the disk, where the system can."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
