"""Refuse writes outside of a safe run's folders, at the moment of writing.

`mode` checks the paths that a config says. Others are composed later (`save_dir/name/version`), and any folder on their
way may be a link. So while a safe run lasts, an audit hook resolves every path that Python is about to write to. It
covers all threads of this process and what it forks; other children inherit it by an environment variable. Code in C
that opens files by itself is not seen.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any

from lighter.errors import ConfigError, SafeModeError

# It can only take away: a process without it is not guarded at all.
_INHERITED = "LIGHTER_SAFE_FOLDERS"
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NEW = os.O_CREAT | os.O_EXCL
_NOT_FOLLOWED = getattr(os, "O_NOFOLLOW", 0)
_CHANGES: dict[str, tuple[tuple[int, int | None, bool], ...]] = {
    # which arguments of an event are the path, the folder that it is relative to, and whether a link is followed
    "os.chflags": ((0, None, True),),
    "os.chmod": ((0, 2, True),),
    "os.chown": ((0, 3, True),),
    "os.link": ((0, 2, True), (1, 3, False)),
    "os.mkdir": ((0, 2, False),),
    "os.remove": ((0, 1, False),),
    "os.removexattr": ((0, None, True),),
    "os.rename": ((0, 2, False), (1, 3, False)),
    "os.rmdir": ((0, 1, False),),
    "os.setxattr": ((0, None, True),),
    "os.symlink": ((1, 2, False),),
    "os.truncate": ((0, None, True),),
    "os.utime": ((0, 3, True),),
}
_WATCHED = {"open", "sqlite3.connect", *_CHANGES}
_DEVICES = ("/dev/null", "/dev/tty")
_SHARED_MEMORY = "/dev/shm/pym-{}-"  # of multiprocessing's values and arrays
_IMPORT_SYSTEM = "<frozen importlib._bootstrap_external>"

# The folders, links followed; None while nothing is guarded.
_allowed: tuple[str, ...] | None = None
_is_installed = False


@contextmanager
def writes_only_in(folders: Iterable[Path]) -> Iterator[None]:
    """Refuse what this process, or one that it starts, is about to write outside of some folders.

    `open` and the like then raise `SafeModeError`. Temporary files have a folder of this process's own. The folders are
    without links on their way; whoever follows one before vouches for it.

    Raises:
        SafeModeError: something failed for a refusal.
    """
    before = _allowed, tempfile.tempdir, os.environ.get(_INHERITED)
    _guard(map(str, folders))
    os.environ[_INHERITED] = json.dumps(_allowed)
    try:
        yield
    except Exception as error:
        refused = _refused(error)
        if refused is None or isinstance(error, (SafeModeError, ConfigError)):
            raise
        raise refused from None  # and not what a library made of it
    finally:
        _guard(before[0])
        tempfile.tempdir = before[1]
        os.environ.pop(_INHERITED)
        if before[2] is not None:
            os.environ[_INHERITED] = before[2]


def _refused(error: BaseException | None) -> SafeModeError | None:
    while error is not None and not isinstance(error, SafeModeError):
        error = error.__cause__ or error.__context__
    return error


def inherit() -> None:
    """Guard this process as the one that started it."""
    folders = json.loads(os.environ[_INHERITED])
    _guard(folders)
    # Ranks leave weights there for the process that has spawned them.
    tempfile.tempdir = folders[-1]


def check(path: str | Path) -> None:
    """Raise a `SafeModeError` for a folder or file outside that is about to be written to, links followed."""
    if _allowed is not None:
        _check(os.path.realpath(path), str(path))


def _guard(folders: Iterable[str] | None) -> None:
    global _allowed, _is_installed
    if folders is None:
        _allowed = None
        return
    # Nobody guesses the name of multiprocessing's folder, and it goes with the process.
    tempfile.tempdir = get_temp_dir()
    _allowed = tuple(dict.fromkeys([*folders, os.path.realpath(tempfile.tempdir)]))
    if not _is_installed:  # for good: there is no way to take a hook away
        sys.addaudithook(_hook)
        _is_installed = True


def _hook(event: str, args: tuple[Any, ...]) -> None:
    # Returns here nearly always: a training step has dozens of events.
    if event not in _WATCHED or _allowed is None:
        return
    if event == "open":
        _check_open(*args)
    elif event == "sqlite3.connect":
        database = os.fsdecode(args[0])  # bytes in Python 3.10
        if database not in ("", ":memory:"):
            _check(os.path.realpath(database), database)
    else:
        for path, folder, is_followed in _CHANGES[event]:
            _check_change(args[path], -1 if folder is None else args[folder], is_followed)


def _check_open(path: Any, _mode: Any, flags: Any) -> None:
    if isinstance(path, int) or not flags & _WRITES:
        return
    said = os.fsdecode(path)
    is_followed = flags & _NEW != _NEW and not flags & _NOT_FOLLOWED
    real = os.path.realpath(said) if is_followed else _entry(said)
    if real in _DEVICES or _is_pythons(real):
        return
    _check(real, said)
    # A pipe or device may lead anywhere, whatever folder it is in.
    if os.path.exists(real) and not stat.S_ISREG(kind := os.stat(real).st_mode) and not stat.S_ISDIR(kind):
        raise SafeModeError(f"safe mode does not write to {said}: it is no regular file")


def _check_change(path: Any, folder: int, is_followed: bool) -> None:
    if isinstance(path, int):
        return
    said = os.fsdecode(path)
    full = os.path.join(_folder(folder), said) if folder >= 0 else said
    real = os.path.realpath(full) if is_followed else _entry(full)
    if not _is_pythons(real):
        _check(real, said)


def _check(real: str, said: str) -> None:
    if not any(real == folder or real.startswith(folder.rstrip(os.sep) + os.sep) for folder in _allowed or ()):
        leads = f", which leads to {real}" if os.path.abspath(said) != real else ""
        raise SafeModeError(
            f"safe mode does not write to {said}{leads}: that is outside of the folders of this run,"
            f" {', '.join((_allowed or ())[:-1])}. For another folder: --allow_root FOLDER;"
            " for the folder of all runs: run::dir=FOLDER on the command line"
        )


def _entry(path: str) -> str:
    # Whoever removes or makes a link changes the entry of a folder, not what the link leads to.
    head, name = os.path.split(path.rstrip(os.sep))
    return os.path.realpath(path) if name in ("", ".", "..") else os.path.join(os.path.realpath(head), name)


def _folder(descriptor: int) -> str:
    folder = os.path.realpath(f"/proc/self/fd/{descriptor}")
    if not os.path.isdir(folder):
        raise SafeModeError("safe mode does not write relative to a folder whose name the system does not tell")
    return folder


def _is_pythons(real: str) -> bool:
    # Shared memory of this process, or the bytecode of an imported module. The file's name does not tell: whoever could
    # write a file of that name could have it imported.
    who = sys._getframe(3).f_code.co_filename  # past this function, the check and the hook
    return who == _IMPORT_SYSTEM or real.startswith(_SHARED_MEMORY.format(os.getpid()))
