"""Errors as data for programs: `{code, message, file, line, column, path, nearest}`. The codes are in docs/15."""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from lighter.errors import ConfigError, LighterError, ModuleError, OutputError, StorageError

if TYPE_CHECKING:
    from lighter.config.problems import Problem

# beside those of `lighter.errors`
USAGE, FILE, CODE, STOPPED, MEMBER, REPEATED = "usage", "file", "user-code", "stopped", "member", "repeated"
_OF_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_NEAREST = re.compile(r"Did you mean `([^`]+)`\?")


def of_exception(error: BaseException) -> list[dict[str, Any]]:
    """Return the errors that an exception stands for: of a config, each of its problems."""
    if isinstance(error, ConfigError):
        return [of_problem(problem) for problem in error.problems]
    if isinstance(error, LighterError):
        place = _raised_at(error) if isinstance(error, ModuleError) else {"file": _file_of(error)}
        return [entry(error.code, str(error), **place)]
    if isinstance(error, KeyboardInterrupt):
        return [entry(STOPPED, "Stopped by Ctrl-C")]
    if isinstance(error, OSError) and error.errno in _OF_DISK:
        return [entry(StorageError.code, error.strerror or str(error), file=_name(error))]
    return [entry(CODE, str(error), type=type(error).__name__, **_raised_at(error))]


def of_file(error: OSError) -> dict[str, Any]:
    """Return a file that cannot be read or written."""
    return entry(FILE, error.strerror or str(error), file=_name(error))


def of_usage(error: click.ClickException) -> dict[str, Any]:
    """Return a mistake in the words of a command."""
    if isinstance(error.__cause__, OSError):  # a file that it names
        return entry(FILE, error.format_message(), file=_name(error.__cause__))
    close: Sequence[str] = getattr(error, "possibilities", None) or ()  # of an option, or a command
    return {**entry(USAGE, error.format_message()), **({"nearest": close[0]} if close else {})}


def of_problem(problem: Problem) -> dict[str, Any]:
    """Return a problem of a config."""
    return {**entry(ConfigError.code, problem.message), **place_of(problem)}


def place_of(problem: Problem) -> dict[str, Any]:
    """Return where a problem is, and the nearest right thing; None for what does not apply."""
    origin = problem.origin
    in_file = origin is not None and origin.source.is_file
    found = _NEAREST.search(problem.hint)
    return {
        "severity": problem.severity,
        "file": origin.source.name if origin is not None and (in_file or origin.source.is_unread) else None,
        "line": origin.line if origin is not None and in_file else None,
        "column": origin.column if origin is not None and origin.source.text else None,
        "word": origin.source.text if origin is not None and origin.source.is_override else None,
        "path": problem.path or None,
        "hint": problem.hint or None,
        "nearest": found[1] if found else None,
    }


def entry(code: str, message: str, **facts: Any) -> dict[str, Any]:
    """Return an error with all keys that errors have, and some more."""
    found = _NEAREST.search(message)
    places = dict.fromkeys(("file", "line", "column", "path"))
    return {"code": code, "message": message, **places, "nearest": found[1] if found else None, **facts}


def _name(error: OSError | OutputError) -> str | None:
    return str(error.filename) if error.filename is not None else None


def _file_of(error: LighterError) -> str | None:
    """Return the file that an error is about, or that the system refused: its message has words around the name."""
    about = error if isinstance(error, OutputError) else error.__cause__
    return _name(about) if isinstance(about, (OutputError, OSError)) else None


def _raised_at(error: BaseException) -> dict[str, Any]:
    """Return the file and line of the last frame in code that is not installed, or of the last one."""
    frames = list(_frames(error))
    own = [frame for frame in frames if "site-packages" not in frame.filename and not frame.filename.startswith("<")]
    last = next(iter((own or frames)[-1:]), None)
    return {"file": last.filename, "line": last.lineno} if last is not None else {}


def _frames(error: BaseException) -> Iterator[traceback.FrameSummary]:
    from lighter.cli.failures import is_ours

    for frame in traceback.extract_tb(error.__traceback__):
        if not is_ours(frame.filename):
            yield frame
