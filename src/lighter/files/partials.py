"""The names of unfinished files, and the removal of those whose process is gone."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import time
from contextlib import suppress
from pathlib import Path

from lighter.processes.identity import started

_NAME = re.compile(r"\..+\.partial-(?P<pid>\d+)-(?P<place>[0-9a-f]{8})-(?P<began>[0-9a-f]{8})")
_UNKNOWN = "00000000"
_LONGEST_NAME = 200  # bytes, of the file's name in it; file systems have 255 for all
_OLD = 24 * 3600.0  # seconds without a byte, after which a process elsewhere does not write any more


def partial_of(path: Path) -> Path:
    """Return where this process writes a file before it is complete: `.last.ckpt.partial-4711-` and process marks."""
    name = path.name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    pid = os.getpid()
    return path.with_name(f".{name}.partial-{pid}-{_place()}-{_began(pid)}")


def sweep(folder: Path) -> list[Path]:
    """Delete the partial files of processes that are gone, and return their paths.

    A process on another machine, or in another container, cannot be asked; its file is deleted when it has not
    changed for a day.
    """
    swept = []
    with suppress(OSError):  # no folder, or none of ours
        for path in [entry for entry in folder.iterdir() if _NAME.fullmatch(entry.name)]:
            with suppress(OSError):
                if _is_left(path):
                    path.unlink()
                    swept.append(path)
    return swept


def _is_left(path: Path) -> bool:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return False
    if match["place"] == _place() and match["began"] != _UNKNOWN:
        return _began(int(match["pid"])) != match["began"]
    return time.time() - path.stat().st_mtime > _OLD


def _place() -> str:
    """Identify the machine, or the container on it, in which process ids are unique."""
    namespace = ""
    with suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return _short(f"{socket.gethostname()} {namespace}")


def _began(pid: int) -> str:
    began = started(pid)
    return _short(began) if began is not None else _UNKNOWN


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
