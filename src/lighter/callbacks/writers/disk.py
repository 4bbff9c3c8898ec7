"""Files that are whole when they have their name, and that never take another's."""

from __future__ import annotations

import os
from pathlib import Path


def publish(path: Path, name: Path) -> bool:
    """Give a whole file its name. False if something else has the name: that is left alone, and so is the file."""
    try:
        os.link(path, name)  # unlike a rename, it never takes the place of what is there
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        if os.path.lexists(name):
            return False
        os.rename(path, name)
    path.unlink(missing_ok=True)
    return True


def sync(path: Path) -> None:
    """See that a file is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
