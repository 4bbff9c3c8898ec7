"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from lighter.files.partials import partial_of, sweep


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file aside and rename it, so that whoever reads it finds the old or the new one, never a part.

    What a process that was killed has left of doing so in this folder is deleted.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    aside = partial_of(path)
    try:
        aside.write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
        os.replace(aside, path)
        sweep(path.parent)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:  # a full disk, say, does not tell
            error.filename = str(path)
        with suppress(OSError):
            aside.unlink()
        raise


def read_text(path: Path) -> str:
    """Read a file. Anything else that has its name is an error at once: to open a FIFO would wait for a writer.

    Raises:
        OSError: it cannot be read, or is no regular file.
        UnicodeDecodeError: it is not UTF-8.
    """
    if path.is_symlink() and not path.exists():
        raise OSError(errno.EINVAL, "it is a link to nothing", str(path))
    with open(path, encoding="utf-8", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return file.read()


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk too. Some systems cannot, and then there is nothing to be done."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
