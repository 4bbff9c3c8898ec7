"""Identify a process, so that another one can tell whether it still runs."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from lighter.processes import slurm


def this_process() -> dict[str, Any]:
    """Return host, process id, start mark and SLURM job of this process."""
    return {**mark_of(os.getpid()), "slurm": slurm.job()}


def mark_of(pid: int) -> dict[str, Any]:
    """Return host, process id and start mark of a process of this host."""
    return {"host": socket.gethostname(), "pid": pid, "process_started": started(pid)}


def is_here(host: object) -> bool:
    return host == socket.gethostname()


def is_gone(host: object, pid: object, began: object) -> bool:
    """Return whether a process is known to have ended."""
    # of one on another host nothing is known
    if not is_here(host) or not isinstance(pid, int) or began is None:
        return False
    return started(pid) != began


def started(pid: int) -> str | None:
    """Return a mark that is the same as long as a process lives; None without such a process, or if nobody can tell."""
    # a process id alone would not do: it is used again
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        with suppress(OSError, IndexError):
            # the program's name, in brackets, may have spaces and brackets in it
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            # the start is counted from the boot
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            # a zombie has ended, and is kept only until its parent asks for it
            return None if fields[0] == "Z" else f"{boot}/{fields[19]}"
        return None
    if os.name != "posix":
        return None
    with suppress(OSError, subprocess.SubprocessError):
        shown = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=5, check=False
        )
        return shown.stdout.strip() or None
    return None
