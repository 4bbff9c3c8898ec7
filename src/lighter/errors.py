"""Everything Lighter raises for a mistake that its user can mend.

    LighterError                    the message says what to do; `exit_code` is what the command line exits with,
    │                               and `code` its name in the JSON of commands (docs/15)
    ├── ConfigError                 the config or the command line is wrong: all its problems at once (2)
    ├── CheckpointError             a checkpoint is missing, unreadable or of another model (3)
    │   ├── DamagedCheckpointError  ... is torn, altered or unreadable, so that another one may do
    │   └── RefusedCheckpointError  ... could run code while it is loaded, and nobody has permitted that
    ├── PredictionError             predictions cannot be written or resumed; a ValueError (4)
    ├── ExportError                 a network cannot be exported, or what was exported computes something else (5)
    ├── StorageError                a file of a run cannot be written: full disk, quota, read-only; an OSError (1)
    │   └── SafeModeError           ... or may not be, in safe mode (2)
    ├── NonFiniteError              a loss, gradient or weight is NaN or Inf, and the fit stopped (1)
    ├── WorkerError                 a dataloader's worker process died; a RuntimeError (1)
    ├── ProcessError                another process of a distributed run failed; a RuntimeError (1)
    ├── LaunchError                 a job cannot be submitted: the scheduler's words (2)
    ├── RunError                    no such run, or it cannot be resumed or repeated as asked (2)
    │   └── OutputError             ... or its report cannot be written where it is to be
    └── ModuleError                 a module of the user's breaks its contract with Lighter (1), and is one of
        ├── ModuleTypeError         ... TypeError: a step returned, or a constructor was given, the wrong thing
        ├── ModuleValueError        ... ValueError: the right kind of thing with a wrong content
        │   └── MisfitError         the config does not fit the module: it names a parameter that is not there, say (2)
        ├── ModeError               ... RuntimeError: the mode was asked for outside a trainer's run
        ├── NotBuiltError           ... AttributeError: the optimizer or scheduler was asked for before it is built
        └── StepMissingError        ... NotImplementedError: a step was called that nobody wrote

A `ModuleError` raised while a config's objects are built is the config's mistake: the engine reports it
as a `ConfigError` with the place in the config; likewise a `MisfitError` that says which key it is about.
No torch is imported here.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lighter.config.problems import Problem


class LighterError(Exception):
    """A mistake that the user of Lighter can mend."""

    exit_code = 1
    code = "error"

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: the message, as the command line does, without frames. IPython asks for it."""
        return [f"{type(self).__name__}: {self}", *getattr(self, "__notes__", ())]


class ConfigError(LighterError):
    """The config or the command line is wrong. `problems` holds every mistake that was found."""

    exit_code = 2
    code = "config"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n\n".join(str(problem) for problem in self.problems))


class CheckpointError(LighterError):
    """A checkpoint is missing, unreadable or does not fit the model."""

    exit_code = 3
    code = "checkpoint"


class DamagedCheckpointError(CheckpointError):
    """A checkpoint's file is torn, altered or unreadable. Another one may do in its place."""

    code = "checkpoint-damaged"


class RefusedCheckpointError(CheckpointError):
    """A checkpoint could run code while it is loaded, and nobody has permitted that."""

    code = "checkpoint-refused"


class PredictionError(LighterError, ValueError):
    """Predictions cannot be written as a writer is asked to, or a stopped prediction cannot be resumed."""

    exit_code = 4
    code = "prediction"


class ExportError(LighterError):
    """A network cannot be exported, or its export does not compute what it does. Nothing was written."""

    exit_code = 5
    code = "export"


class StorageError(LighterError, OSError):
    """A file of a run cannot be written: the disk is full, over quota, read-only or failing. The run failed.

    `errno` is the system's, or None where that is not known.
    """

    code = "storage"

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class SafeModeError(StorageError):
    """A run in safe mode was about to write outside of its folders. It is an OSError, which libraries are ready for."""

    exit_code = 2
    code = "safe-mode"

    def __str__(self) -> str:
        # An OSError would make its own text of the name of a file that is added later.
        return str(self.args[0])


class NonFiniteError(LighterError):
    """A loss, gradient or weight is NaN or Inf. The message says where, and what usually helps."""

    code = "non-finite"


class WorkerError(LighterError, RuntimeError):
    """A worker process of a dataloader died: which one, of what, and what that usually means.

    `signum` is the signal that ended it; 0 or less if none did.
    """

    code = "worker"

    def __init__(self, message: str, signum: int = 0) -> None:
        self.signum = signum
        super().__init__(message)


class ProcessError(LighterError, RuntimeError):
    """Another process of a distributed run failed, and this one cannot continue. The message has its error."""

    code = "process"


class LaunchError(LighterError):
    """A job cannot be submitted. The message has the words of the scheduler."""

    exit_code = 2
    code = "launch"


class RunError(LighterError):
    """There is no such run, or it cannot be resumed or repeated as asked."""

    exit_code = 2
    code = "run"


class OutputError(RunError):
    """The file that a command is to write, `filename`, cannot be written, or is another's."""

    code = "file"

    def __init__(self, message: str, filename: str) -> None:
        self.filename = filename
        super().__init__(message)


class ModuleError(LighterError):
    """A module of the user's breaks its contract with Lighter.

    `key` is the constructor argument that it is about, or a path in it (`loss_weights::ce`), by which the engine finds
    the place in the config; empty where it is about none.
    """

    code = "module"

    def __init__(self, message: str, key: str = "") -> None:
        self.key = key
        super().__init__(message)

    def _render_traceback_(self) -> list[str]:
        if self.exit_code != 1:
            return super()._render_traceback_()
        # it was raised in a step of the user's, whose frames say where
        return ["".join(traceback.format_exception(self)).rstrip()]


class ModuleTypeError(ModuleError, TypeError):
    """A step returned, or a constructor was given, something of the wrong type."""


class ModuleValueError(ModuleError, ValueError):
    """Something of the right type has a wrong content."""


class MisfitError(ModuleValueError):
    """The config does not fit the module, which showed when the module was there: a name that it does not have, say.

    `details` are the single messages, each with the name in the config that it is about, by which the engine finds the
    places; empty where there is one message about `key`.
    """

    exit_code = 2
    code = "misfit"

    def __init__(self, message: str, key: str = "", details: Sequence[tuple[str, str]] = ()) -> None:
        self.details = tuple(details)
        super().__init__(message, key)


class ModeError(ModuleError, RuntimeError):
    """The mode of a module was asked for outside a trainer's run."""


class NotBuiltError(ModuleError, AttributeError):
    """The optimizer or scheduler of a module was asked for before it is built."""


class StepMissingError(ModuleError, NotImplementedError):
    """A step was called that the user did not write."""


def cut_traceback(error: BaseException, shown: TracebackType | None) -> BaseException:
    """Return the error with the end of its traceback; what it was cut from stays at hand in `cut_from`."""
    error.__cut_from__ = error.__traceback__  # type: ignore[attr-defined]
    return error.with_traceback(shown)


def cut_from(error: BaseException) -> TracebackType | None:
    """Return the traceback that an error had before it was cut; None if it was not."""
    whole: TracebackType | None = getattr(error, "__cut_from__", None)
    return whole


def add_note(error: BaseException, note: str) -> None:
    """`BaseException.add_note`, on Python 3.10 too."""
    error.__notes__ = [*getattr(error, "__notes__", []), note]  # type: ignore[attr-defined]
