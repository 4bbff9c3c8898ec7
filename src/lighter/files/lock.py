"""Exclusive locks on files, which end with the process that holds them, however it ends.

A lock is the kernel's, so a copied or left file is not locked. It works across hosts where the file system's do.

The package `filelock` is not used: before version 4 forked children keep its locks, and where there is no `flock` it
locks by a file's existence, which outlives a kill.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from lighter.errors import RunError
from lighter.processes.identity import is_gone, this_process
from lighter.processes.ranks import is_rank_zero

log = logging.getLogger("lighter.runs")

LOCK = ".lock"
_HELD = (errno.EAGAIN, errno.EACCES)
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
# File systems whose locks are the same for all processes that can open the file: on the disks of one machine, where
# another host name is a container's, and shared ones. NFS and Lustre say it in their options; others are not known.
_LOCK_FOR_ALL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "ceph", "gpfs", "gfs2", "ocfs2"}
_LOCK_FOR_A_HOST = {"nolock", "local_lock=flock", "local_lock=all"}  # options of NFS
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # which Windows does not have
_PATIENCE, _PAUSE = 10.0, 0.02  # seconds
_MOUNTS = Path("/proc/self/mountinfo")

_descriptors: dict[str, int] = {}


def acquire(path: Path, *, create: bool = True) -> bool:
    """Lock a file for this process; False where the file system has no locks, and processes are not kept apart.

    Raises:
        BlockingIOError: another process has it, or this one.
        OSError: the file cannot be opened, or is a link, which could lead to a file that is no lock.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | _NO_LINK | (os.O_CREAT if create else 0), 0o666)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
                raise OSError(errno.ELOOP, "it is a link, or no regular file", str(path))
            if not _flock(descriptor):
                os.close(descriptor)
                return False
            if _is_of(descriptor, path):
                _descriptors[os.path.abspath(path)] = descriptor
                return True
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its name was taken away meanwhile, so others lock another file


def release(path: Path, *, remove: bool = False) -> None:
    """Release a lock, and maybe remove its file; nothing happens if this process does not hold it."""
    descriptor = _descriptors.pop(os.path.abspath(path), None)
    if descriptor is None:
        return
    if remove and _is_of(descriptor, path):
        with suppress(OSError):
            path.unlink()
    os.close(descriptor)


def excludes_other_hosts(path: Path) -> bool:
    """Return whether this process holds a lock that no process on another host can have at the same time."""
    if os.path.abspath(path) not in _descriptors:
        return False
    kind, options = _file_system(path)
    if kind in ("nfs", "nfs4"):
        return not options & _LOCK_FOR_A_HOST
    return "flock" in options if kind == "lustre" else kind in _LOCK_FOR_ALL


def _file_system(path: Path) -> tuple[str, set[str]]:
    system, longest, resolved = ("", set[str]()), 0, path.resolve()
    with suppress(OSError):
        for line in _MOUNTS.read_text(errors="replace").splitlines():
            mount, _, description = line.partition(" - ")
            kind, *_, options = description.split()
            # a space in a path is written as \040
            point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mount.split()[4]))
            # of mounts at one point, the last one covers the others
            if resolved.is_relative_to(point) and len(point.parts) >= longest:
                system, longest = (kind, {*options.split(",")}), len(point.parts)
    return system


def owned(folder: Path, name: str) -> AbstractContextManager[None]:
    """Be the only process that writes into a run's folder, for a while.

    Raises:
        RunError: another process is; nothing was changed.
    """
    return only_one(folder.absolute() / LOCK, name, "two processes cannot share its folder")


@contextmanager
def only_one(path: Path, name: str, why: str) -> Iterator[None]:
    """Hold a lock whose file names the process that holds it.

    Raises:
        RunError: another process has it.
    """
    if not is_rank_zero():  # the first process of a distributed run holds the lock for all of them
        yield
        return
    try:
        existed = path.exists()
        if _acquire_unless_held(path):
            facts = {**this_process(), "since": datetime.now().astimezone().isoformat(timespec="seconds")}
            with suppress(OSError):  # a full disk: the lock holds, and only its holder has no name
                descriptor = _descriptors[os.path.abspath(path)]
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(facts).encode(), 0)
        else:
            log.warning("%s is on a file system without locks: only its record tells who uses the run", path.parent)
            if not existed:
                path.unlink(missing_ok=True)
    except BlockingIOError as error:
        raise RunError(f"{name} is running ({error.strerror}); {why}") from None
    except FileNotFoundError:
        raise RunError(f"{path.parent} is not there any more") from None
    except PermissionError as error:
        raise RunError(f"{path.parent} cannot be written to, and {name} resumes in it: {error.strerror}") from error
    except OSError as error:  # a full disk: as with the record, the run is worth more
        log.warning(
            "%s cannot be locked: %s; only its record tells who uses the run", path.parent, error.strerror or error
        )
    try:
        yield
    finally:
        release(path, remove=True)


@contextmanager
def waited_for(path: Path) -> Iterator[None]:
    """Hold a lock for a moment, after others that hold it; after some seconds, continue without it."""
    # a tag that might be lost is better than a command that waits forever for a process that hangs
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        try:
            acquire(path)
            break
        except BlockingIOError:
            time.sleep(_PAUSE)
    try:
        yield
    finally:
        release(path, remove=True)


def _flock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: two processes are not kept apart there, but by the records of runs
        return False
    # not a POSIX record lock, which ends when the process closes any other descriptor of the file, as whoever copies or
    # hashes a folder does
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise BlockingIOError(error.errno, error.strerror) from None
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def _is_of(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _acquire_unless_held(path: Path) -> bool:
    # A process that has just taken it may not have signed yet, and a child that a killed holder has just forked may not
    # have closed its copy yet. So an unsigned lock is asked for again, for a while.
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return acquire(path)
        except BlockingIOError as error:
            holder = None
            with suppress(OSError, ValueError, TypeError, KeyError):  # not signed yet, or only in part
                facts = json.loads(path.read_bytes())
                if not is_gone(facts["host"], facts["pid"], facts["process_started"]):
                    holder = f"process {facts['pid']} on {facts['host']}, since {facts['since']}"
            if holder or time.monotonic() > until:
                raise BlockingIOError(error.errno, holder or "in another process") from None
        time.sleep(_PAUSE)


def _close_in_child() -> None:
    # a child shares the open file, and with it the lock: dataloader workers outlive a killed parent by seconds
    for descriptor in _descriptors.values():
        with suppress(OSError):
            os.close(descriptor)
    _descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
