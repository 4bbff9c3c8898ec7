"""One stage from the command line: run it, show what came of it, turn what went wrong into a message and a code."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeGuard

from lighter.cli.check import title
from lighter.cli.failures import show_failure
from lighter.cli.safe import OPTIONS, safe_mode
from lighter.errors import (
    CheckpointError,
    LighterError,
    MisfitError,
    ModuleError,
    NonFiniteError,
    PredictionError,
    ProcessError,
    RunError,
    SafeModeError,
    StorageError,
    WorkerError,
)
from lighter.files.run_folder import is_rank_zero
from lighter.processes.signals import Stopped, stop_signals

INTERRUPTED = 130
_DISK = "The disk cannot be written to."


def run_stage(stage: str, inputs: list[str], options: Mapping[str, Any], *, traceback: bool = False) -> int:
    """Run a stage; returns the exit code. With `traceback`, a failure shows all of its frames."""

    def execute() -> Any:
        from lighter.engine.runner import Runner

        runner = Runner(safe_mode(options))
        return runner.execute(stage, inputs, **{k: v for k, v in options.items() if k not in OPTIONS})

    return run_and_show(stage, execute, traceback=traceback)


def run_and_show(stage: str, execute: Callable[[], Any], *, traceback: bool = False) -> int:
    """Call what runs a stage, show what came of it, and return the exit code."""

    def run() -> None:
        from lighter.cli.results import show

        show(stage, execute())

    return exit_code(run, traceback=traceback)


def exit_code(action: Callable[[], None], *, traceback: bool = False) -> int:
    """Do something; returns 0, or prints what went wrong and returns the code for that."""
    try:
        with _messages_shown(), stop_signals():
            action()
    except LighterError as error:
        if error.exit_code == 1 and (traceback or isinstance(error, ModuleError)):  # some code of the user's is in it
            return show_failure(error, whole=traceback)
        # all processes have the first; of the second, the one that failed has said more
        if is_rank_zero() or not isinstance(error, (StorageError, ProcessError)):
            print(f"{_title(error)}\n\n{error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as error:
        if not isinstance(error.__cause__, Stopped):  # that has said so
            print("\nStopped by Ctrl-C.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        if _is_of_the_disk(error) and not traceback:
            return _show_full_disk(error)
        return show_failure(error, whole=traceback)
    return 0


def _is_of_the_disk(error: Exception) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _show_full_disk(error: OSError) -> int:
    """What a logger, say, did not expect. Who wrote there is in the traceback; what is wrong is not."""
    what = f"{error.filename or 'a file'} cannot be written: {error.strerror or error}"
    print(f"{_DISK}\n\n{what}\n\n(--traceback shows by whom.)", file=sys.stderr)
    return 1


@contextmanager
def _messages_shown() -> Iterator[None]:
    """What Lighter logs, on the terminal as well as in the run's log; of several processes, that of the first."""
    handler = logging.StreamHandler()
    first = is_rank_zero()
    # failures are shown by the caller; what is said before there is a run's log, and again in it, is shown once
    handler.addFilter(lambda record: first and _is_shown(record) and not hasattr(record, "shown"))
    logger = logging.getLogger("lighter")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _is_shown(record: logging.LogRecord) -> bool:
    return record.levelno in (logging.INFO, logging.WARNING) or record.name in ("lighter.check", "lighter.runs")


def _title(error: LighterError) -> str:
    if isinstance(error, WorkerError):
        return "A worker of a dataloader died."
    if isinstance(error, ProcessError):
        return "Another process of this run failed."
    if isinstance(error, PredictionError):
        return "The prediction cannot be written."
    if isinstance(error, CheckpointError):
        return "The checkpoint cannot be used."
    if isinstance(error, SafeModeError):
        return "Safe mode refused to write."
    if isinstance(error, StorageError):
        return _DISK
    if isinstance(error, NonFiniteError):
        return "Training stopped at a number that is not finite."
    if isinstance(error, RunError):
        return "The run cannot be used."
    if isinstance(error, MisfitError):
        return "The config does not fit the module."
    return title(getattr(error, "problems", ()))
