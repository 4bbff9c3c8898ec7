"""Run one stage from the command line, show its results, and turn errors into messages and exit codes."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lighter.cli.check import title
from lighter.cli.failures import show_failure
from lighter.cli.json_output import note
from lighter.cli.options import SAFE_MODE, safe_mode
from lighter.errors import (
    CheckpointError,
    LaunchError,
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
from lighter.runs.log import messages_shown

if TYPE_CHECKING:
    from lighter.engine.execution import Outcome
    from lighter.engine.runner import Runner

INTERRUPTED = 130
_DISK = "The disk cannot be written to."
# The first that fits counts: a class stands before those that it inherits.
_TITLES: dict[type[LighterError], str] = {
    WorkerError: "A worker of a dataloader died.",
    ProcessError: "Another process of this run failed.",
    PredictionError: "The prediction cannot be written.",
    CheckpointError: "The checkpoint cannot be used.",
    SafeModeError: "Safe mode refused to write.",
    StorageError: _DISK,
    NonFiniteError: "Training stopped at a number that is not finite.",
    LaunchError: "The job cannot be submitted.",
    RunError: "The {about} cannot be used.",
    MisfitError: "The config does not fit the module.",
}


def run_stage(stage: str, inputs: list[str], options: Mapping[str, Any], *, traceback: bool = False) -> int:
    """Run a stage, and return the exit code. With `traceback`, a failure shows all of its frames."""

    def execute(runner: Runner) -> Outcome:
        runner.safe = safe_mode(options)
        arguments = {key: value for key, value in options.items() if key not in SAFE_MODE}
        return runner.execute(stage, inputs, **arguments)

    return run_and_show(stage, execute, traceback=traceback)


def run_and_show(
    stage: str, execute: Callable[[Runner], Outcome], *, traceback: bool = False, command: str = ""
) -> int:
    """Call a function that runs a stage with a runner, show its results, and return the exit code."""

    def run() -> None:
        from lighter.cli.results import show
        from lighter.cli.run_document import give_run
        from lighter.engine.runner import Runner

        runner = Runner()
        try:
            outcome = execute(runner)
        finally:
            if runner.folder is not None:
                give_run(command or stage, runner.folder)
        show(stage, outcome)

    return exit_code(run, traceback=traceback)


def exit_code(action: Callable[[], None], *, traceback: bool = False, about: str = "run") -> int:
    """Call a function and return the exit code; `about` is what a command is about: a run or an experiment."""
    try:
        with messages_shown(), stop_signals():
            action()
    except LighterError as error:
        note(error)
        # A failure with code of the user's in it is shown with its frames.
        if error.exit_code == 1 and (traceback or isinstance(error, ModuleError)):
            return show_failure(error, whole=traceback)
        # all processes have the first; of the second, the one that failed has said more
        if is_rank_zero() or not isinstance(error, (StorageError, ProcessError)):
            heading = next((text for kind, text in _TITLES.items() if isinstance(error, kind)), None)
            problems = getattr(error, "problems", ())
            heading = heading.format(about=about) if heading else title(problems) if problems else ""
            print("\n\n".join(filter(None, (heading, str(error)))), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as error:
        note(error)
        if not isinstance(error.__cause__, Stopped):  # which has said so
            print("\nStopped by Ctrl-C.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        note(error)
        is_of_disk = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        # Code that expects no full disk, a logger say, lets the error through.
        if isinstance(error, OSError) and is_of_disk and not traceback:
            what = f"{error.filename or 'a file'} cannot be written: {error.strerror or error}"
            print(f"{_DISK}\n\n{what}\n\n(--traceback shows by whom.)", file=sys.stderr)
            return 1
        return show_failure(error, whole=traceback)
    return 0
