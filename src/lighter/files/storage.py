"""Paths that fsspec opens: on a disk of this machine, or in another storage (`s3://bucket/folder`)."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from lighter.errors import ModuleValueError

AnyPath = str | os.PathLike[str]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(?:::[^/]+)?:/(/?)")
_LOCAL = ("file", "local")  # fsspec's names of the disks


def is_remote(path: AnyPath) -> bool:
    """Return whether a path is in another storage: `s3://bucket/folder`, also one from which pathlib took a slash."""
    match = _SCHEME.match(os.fspath(path))
    if match is None or match[1] in _LOCAL:
        return False
    if match[2]:
        return True
    # with one slash, it is a URL that pathlib has changed, or a file's name with a colon in it
    from fsspec import available_protocols

    return match[1] in available_protocols()


def expanded(path: AnyPath) -> Path:
    """Return a path with `~` as the home folder; `~` of an unknown user stays, for which `Path.expanduser` fails."""
    return Path(os.path.expanduser(path))


def on_disk(path: AnyPath) -> Path | None:
    """Return the path, if it is on a disk of this machine, `file:///folder` too; None for another storage."""
    text = os.fspath(path)
    match = _SCHEME.match(text)
    if match is not None and match[1] in _LOCAL and match[2]:
        return Path(text[match.end() :])
    return None if is_remote(text) else Path(text)


def normal(path: AnyPath) -> str:
    """Return the path as text: without `file://`, and with both slashes of a URL, of which pathlib takes one."""
    disk = on_disk(path)
    return re.sub(r":/+", "://", os.fspath(path), count=1) if disk is None else str(disk)


def joined(folder: AnyPath, *names: str) -> str:
    """Return the path of an entry of a folder: absolute, if it is on a disk."""
    disk = on_disk(folder)
    return "/".join([normal(folder).rstrip("/"), *names]) if disk is None else str(disk.absolute().joinpath(*names))


def exists(path: AnyPath) -> bool:
    disk = on_disk(path)
    if disk is not None:
        return disk.exists()
    storage, inner = _opened(path)
    return bool(storage.exists(inner))


def identity(path: AnyPath) -> object:
    """Return a value that changes when a file is rewritten; None if there is no file."""
    disk = on_disk(path)
    with suppress(OSError):
        if disk is not None:
            stat = disk.stat()
            return stat.st_ino, stat.st_mtime_ns
        storage, inner = _opened(path)
        return storage.checksum(inner)
    return None


def _opened(path: AnyPath) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        storage, inner = url_to_fs(os.fspath(path))
    except (ImportError, ValueError) as error:
        raise ModuleValueError(f"{os.fspath(path)} cannot be opened: {error}") from error
    storage.invalidate_cache()  # another process may have written there since this one listed a folder
    return storage, inner
