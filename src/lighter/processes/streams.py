"""The standard streams of a process: output that goes into a file, and a stdout that is kept for one writer."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TextIO

_OUT, _ERR = 1, 2


def print_each_line_at_once() -> None:
    """Flush the output after each line: a buffer is lost with a killed process, and comes after what C prints."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


@contextmanager
def stdout_kept() -> Iterator[TextIO]:
    """Send to stderr whatever is printed, also by child processes and by C code; yield a stream to stdout itself."""
    shown, kept = sys.stdout, _duplicate(_OUT)
    # a stream that Python code has put in the place of stdout, as tests do, has no descriptor of ours
    has_descriptor = kept is not None and _is_of(shown, _OUT)
    own = os.fdopen(os.dup(kept), "w", encoding=shown.encoding) if kept is not None and has_descriptor else shown
    try:
        _flush()
        _point_to_stderr(_OUT)
        with redirect_stdout(sys.stderr):
            yield own or io.StringIO()  # no stdout at all
    finally:
        _flush()
        if kept is not None:
            os.dup2(kept, _OUT)
            os.close(kept)
        if has_descriptor:
            with suppress(OSError):  # its reader has gone, which the writer was told
                own.close()


def _flush() -> None:
    """Write what Python and C have in their buffers for the descriptors as they are now."""
    for stream in (sys.stdout, sys.__stdout__):
        with suppress(OSError, ValueError):  # closed
            if stream is not None:
                stream.flush()
    if os.name == "posix":
        import ctypes

        ctypes.CDLL(None).fflush(None)


def _duplicate(descriptor: int) -> int | None:
    try:
        return os.dup(descriptor)
    except OSError:  # closed
        return None


def _is_of(stream: TextIO | None, descriptor: int) -> bool:
    try:
        return stream is not None and stream.fileno() == descriptor
    except (OSError, ValueError):
        return False


def _point_to_stderr(descriptor: int) -> None:
    try:
        os.dup2(_ERR, descriptor)
    except OSError:  # no stderr
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, descriptor)
        os.close(nothing)
