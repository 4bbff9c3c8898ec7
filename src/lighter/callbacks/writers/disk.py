"""Files that are whole when they get their name, and that never replace another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lighter.files.integrity import crc_of_next

# bytes at the end of a checkpoint that identify it: Lighter's manifest and torch's list of checksums are there
_IDENTIFYING = 1 << 20


def publish(path: Path, name: Path) -> bool:
    """Give a whole file its name; return false, and leave both alone, if the name is taken."""
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


def crc_of(path: Path, *, end: int | None = None) -> int | None:
    """Return the CRC-32 of a file, or of as many bytes at its end; None if it is cut off meanwhile."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = 0 if end is None else max(0, size - end)
        file.seek(start)
        return crc_of_next(file, size - start)


def sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def checkpoint_identity(checkpoint: str | os.PathLike[str] | None) -> Any:
    """Identify a checkpoint by its content, wherever it is."""
    if checkpoint is None or not os.path.exists(checkpoint):  # a URL stands for itself
        return checkpoint if checkpoint is None else os.fspath(checkpoint)
    path, status = os.path.abspath(checkpoint), os.stat(checkpoint)
    if os.path.isdir(path):
        return {"path": path, "modified": status.st_mtime_ns}
    return {"path": path, "bytes": status.st_size, "crc": crc_of(Path(path), end=_IDENTIFYING)}
