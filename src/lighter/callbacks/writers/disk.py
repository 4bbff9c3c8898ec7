"""Files that are whole when they have their name, and that never take another's."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

_CHUNK = 1 << 20


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


def crc_of(path: Path, *, end: int | None = None) -> int:
    """The CRC-32 of a file, or of as many bytes at its end.

    Raises:
        OSError: it cannot be read.
    """
    crc = 0
    with open(path, "rb") as file:
        if end is not None:
            file.seek(max(0, os.fstat(file.fileno()).st_size - end))
        while piece := file.read(_CHUNK):
            crc = zlib.crc32(piece, crc)
    return crc


def sync(path: Path) -> None:
    """See that a file is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
