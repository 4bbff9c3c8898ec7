"""Show a failure of the user's code as its user reads it: the traceback without the frames of Lighter."""

from __future__ import annotations

import os
import sys
import traceback
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from lighter.errors import LighterError, cut_from

FAILED = 1


def show_failure(error: BaseException, *, whole: bool) -> int:
    """Print it, and return the exit code. The frames of Lighter and click are left out, unless `whole`."""
    shown = traceback.TracebackException.from_exception(error)
    if whole:
        shown.stack[:] = _whole(error)
    left_out = 0 if whole else _leave_out(shown, keep_last=not isinstance(error, LighterError))
    print("".join(shown.format()), file=sys.stderr, end="")
    # From Python 3.11 on, the notes are part of the formatted exception.
    if sys.version_info < (3, 11):
        print("\n".join(getattr(error, "__notes__", [])), file=sys.stderr)
    if left_out:
        print("\n(--traceback shows the frames of Lighter too.)", file=sys.stderr)
    return FAILED


def _whole(error: BaseException) -> list[traceback.FrameSummary]:
    frames, cut = traceback.extract_tb(error.__traceback__), traceback.extract_tb(cut_from(error))
    same = 0
    while same < min(len(frames), len(cut)) and frames[-1 - same] == cut[-1 - same]:
        same += 1
    return [*frames[: len(frames) - same], *cut] if cut else list(frames)


def is_ours(file: str) -> bool:
    """Return whether a file is of Lighter or of click."""
    return file.startswith(_folders())


@cache
def _folders() -> tuple[str, ...]:
    click = find_spec("click")
    folders = [Path(__file__).parents[1], *([Path(click.origin).parent] if click and click.origin else [])]
    return tuple(f"{folder}{os.sep}" for folder in folders)


def _leave_out(shown: traceback.TracebackException, *, keep_last: bool) -> int:
    count = 0
    part: traceback.TracebackException | None = shown
    while part is not None:
        frames = list(part.stack)
        kept = [frame for frame in frames if not is_ours(frame.filename)]
        if keep_last and frames and not kept:  # it failed in here
            kept = frames[-3:]
        count += len(frames) - len(kept)
        part.stack[:] = kept
        part = part.__cause__ or part.__context__
    return count
