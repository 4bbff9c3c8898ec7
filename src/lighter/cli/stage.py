"""One stage from the command line: run it, show what came of it, turn what went wrong into a message and a code."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lighter.errors import CheckpointError, LighterError, MisfitError, RunError
from lighter.run.paths import is_rank_zero

INTERRUPTED = 130
_HIDDEN = tuple(str(Path(__file__).parents[1] / part) for part in ("cli", "config", "engine", "run"))


def run_stage(stage: str, inputs: list[str], options: Mapping[str, Any]) -> int:
    """Run a stage; returns the exit code."""
    from lighter.engine.runner import Runner

    return run_and_show(stage, lambda: Runner().execute(stage, inputs, **options))


def run_and_show(stage: str, execute: Callable[[], Any]) -> int:
    """Call what runs a stage, show what came of it, and return the exit code."""
    try:
        with _messages_shown():
            outcome = execute()
    except LighterError as error:
        if error.exit_code == 1:
            return _failed(error)
        print(f"{_title(error)}\n\n{error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nStopped by Ctrl-C.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        return _failed(error)
    from lighter.cli.results import show

    show(stage, outcome)
    return 0


@contextmanager
def _messages_shown() -> Iterator[None]:
    """What Lighter logs, on the terminal as well as in the run's log; of several processes, that of the first."""
    handler = logging.StreamHandler()
    first = is_rank_zero()
    handler.addFilter(
        lambda record: first and (record.levelno == logging.INFO or record.name == "lighter.run")
    )  # failures are shown by the caller
    logging.getLogger("lighter").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("lighter").removeHandler(handler)


def _title(error: LighterError) -> str:
    if isinstance(error, CheckpointError):
        return "The checkpoint cannot be used."
    if isinstance(error, RunError):
        return "The run cannot be used."
    if isinstance(error, MisfitError):
        return "The config does not fit the module."
    problems = getattr(error, "problems", ())
    return f"The config has {len(problems)} problem{'s' * (len(problems) != 1)}."


def _failed(error: BaseException) -> int:
    """Print the traceback of the user's code, without the frames of the command line, the config and the engine."""
    shown = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = shown
    while part is not None:
        part.stack[:] = [frame for frame in part.stack if not frame.filename.startswith(_HIDDEN)]
        part = part.__cause__ or part.__context__
    print("".join(shown.format()), file=sys.stderr, end="")
    if sys.version_info < (3, 11):  # from 3.11 on, the notes are part of the above
        print("\n".join(getattr(error, "__notes__", [])), file=sys.stderr)
    return 1
