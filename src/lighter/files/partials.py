"""The names of unfinished files, and the removal of those whose process is gone."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
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
    """Delete the partial files of processes that are gone, and return their paths."""
    swept = []
    with suppress(OSError):  # no folder, or none of ours
        for path, name in [(path, _NAME.fullmatch(path.name)) for path in folder.iterdir()]:
            with suppress(OSError):  # of another process that sweeps here now
                if name is not None and _is_left(path, name):
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                    swept.append(path)
    return swept


def _is_left(path: Path, name: re.Match[str]) -> bool:
    if name["place"] == _place() and name["began"] != _UNKNOWN:
        return _began(int(name["pid"])) != name["began"]
    # a process on another machine, or in another container, cannot be asked
    inner = [file.stat().st_mtime for file in path.iterdir()] if path.is_dir() else []
    return time.time() - max([path.stat().st_mtime, *inner]) > _OLD


def _place() -> str:
    # the machine, or the container on it, in which process ids are unique
    namespace = ""
    with suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return _short(f"{socket.gethostname()} {namespace}")


def _began(pid: int) -> str:
    began = started(pid)
    return _short(began) if began is not None else _UNKNOWN


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
