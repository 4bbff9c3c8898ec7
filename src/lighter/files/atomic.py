"""Write files atomically: a reader finds the old or the new content, never a part."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from lighter.files.partials import partial_of, sweep


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file aside and rename it. Partial files of processes that were killed are deleted from the folder.

    Raises:
        OSError: it cannot be written; an old file is unchanged.
    """
    aside = partial_of(path)
    try:
        aside.write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
        os.replace(aside, path)
        sweep(path.parent)
    except BaseException as error:
        # the name of the file aside says nothing to a user, and a full disk is an error without a name
        if isinstance(error, OSError):
            error.filename = str(path)
            del error.filename2
        with suppress(OSError):
            aside.unlink()
        raise


def append_line(path: Path, text: str) -> None:
    """Append a line, in one write. It begins anew where a machine that stopped has left a part of one.

    Raises:
        OSError: it cannot be written, or not all of it.
    """
    line = text.encode("utf-8", "surrogateescape") + b"\n"
    with open(path, "ab+", buffering=0) as file:
        if file.seekable() and file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else b"\n" + line
        if file.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def read_text(path: Path) -> str:
    """Read a regular file.

    Raises:
        OSError: it cannot be read, or is no regular file.
        UnicodeDecodeError: it is not UTF-8.
    """
    if path.is_symlink() and not path.exists():
        raise OSError(errno.EINVAL, "it is a link to nothing", str(path))

    # to open a FIFO would wait for a writer
    def without_waiting(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    with open(path, encoding="utf-8", opener=without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return file.read()


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can do that."""
    # to sync a renamed file alone keeps its bytes, and may lose its name when the machine stops
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
