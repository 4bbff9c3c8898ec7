"""Errors that come up while an object is made, sorted by whose mistake they are.

The config's mistakes become a `ConfigError` with their place: arguments that do not fit the signature or that a library
refuses, a wrong expression. What the user's code raises stays what it is, and gains a note: the config path, where that
was written, and the call. The frames of this package are cut from it, and kept.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lighter.config.annotations import UNKNOWN
from lighter.config.expression import REFERENCES
from lighter.config.signatures import KNOWN, Call, signature_of
from lighter.config.tree import SPECIAL, is_target, join
from lighter.errors import ConfigError, ModuleError, SafeModeError, add_note, cut_traceback

if TYPE_CHECKING:
    from lighter.config.objects import Objects

_REFUSALS = (TypeError, ValueError, LookupError, ArithmeticError)
LIGHTNING = ("pytorch_lightning", "lightning", "lightning_fabric", "lightning_utilities")
MISCONFIGURED = "MisconfigurationException"
_INTERPRETERS = ("lighter.config.safe.arithmetic", "lighter.config.safe.expressions")
_OURS = ("lighter.config", "pydoc", "importlib")


Fault = tuple[str, str, str]
"""Message, hint and path of a mistake of the config."""


@dataclass(frozen=True)
class Failure:
    """An error that came up while the object or the expression at a path was made.

    Attributes:
        frames: those of the code that was called: none where Python or an extension refused the call itself.
        target: what was called; None for an expression, or where it could not be imported.
        arguments: the names of those that it was called with.
    """

    error: BaseException
    path: str
    frames: Sequence[TracebackType]
    target: Any = None
    arguments: Collection[str] = ()


def explained(objects: Objects, failure: Failure) -> BaseException:
    """Return what to raise for a failure: a `ConfigError`, or the user's own exception with a note."""
    error, path, definition = failure.error, failure.path, objects.called(failure.path)
    fault = _fault(definition, failure) or _refused_call(definition, failure)
    if fault is not None:
        message, hint, where = fault
        wrong = ConfigError([objects.problem(message, where, hint, at_key=where != path)])
        wrong.__cause__ = error
        return wrong
    add_note(error, _circumstances(objects, path))
    caller = definition["_target_"] if is_target(definition) else path
    # Frames of this package and of the import system say nothing to the user.
    theirs = (trace for trace in traces(error) if not module_of(trace).startswith(_OURS))
    return as_exception(cut_traceback(error, next(theirs, error.__traceback__)), str(caller))


def as_exception(error: BaseException, caller: str) -> BaseException:
    """Return an error that ends the run as a failure: `exit(0)` somewhere in a constructor is no success."""
    # Shells say so that a signal ended a process: 128 + its number.
    is_of_signal = isinstance(error, SystemExit) and isinstance(error.code, int) and error.code > 128
    if isinstance(error, Exception) or is_of_signal:
        return error
    ended = ModuleError(f"`{caller}` ends the program: {_said(error)}")
    ended.__cause__ = error
    return ended


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _fault(definition: Any, failure: Failure) -> Fault | None:
    error = failure.error
    # A module of ours says which argument it is about, or names it in its message.
    if isinstance(error, ModuleError):
        named = argument_in(without_example(str(error)), definition) if is_target(definition) else ""
        return str(error), "", join_if(failure.path, error.key or named)
    if not _is_of_expression(failure.frames) or isinstance(error, SafeModeError):
        return None
    hint = ""
    if isinstance(error, KeyError) and module_of(failure.frames[-1]) == "os":
        hint = f"The environment has no variable {error.args[0]}. With a default: `os.environ.get('NAME', 'x')`."
    return f"this expression fails: {_said(error)}", hint, failure.path


def _refused_call(definition: Any, failure: Failure) -> Fault | None:
    error, path, target = failure.error, failure.path, failure.target
    if not is_target(definition):
        return None
    # Python's own message names no argument, so the signature is asked first.
    if target is not None and isinstance(error, TypeError):
        misfit = _misfit(definition, failure)
        if misfit is not None or not failure.frames:
            return misfit or (f"{definition['_target_']} cannot be called like this: {error}", "", path)
    if is_refusal(error, failure.frames):
        key = argument_in(str(error), definition) or argument_by_value(str(error), definition)
        return f"{definition['_target_']}: {error}", "", join_if(path, key)
    return None


def _is_of_expression(frames: Sequence[TracebackType]) -> bool:
    starts = [
        number
        for number, trace in enumerate(frames)
        if REFERENCES in trace.tb_frame.f_globals or module_of(trace) in _INTERPRETERS
    ]
    # An error in a library that the expression calls is the expression's; one in the user's code is that code's own.
    return bool(starts) and all(package_of(trace) in KNOWN for trace in frames[starts[-1] + 1 :])


def is_refusal(error: BaseException, frames: Sequence[TracebackType]) -> bool:
    """Return whether a library refuses its arguments: the frames have none of the user's code."""
    if not all(package_of(trace) in KNOWN for trace in frames):
        return False
    if frames and package_of(frames[-1]) in LIGHTNING:
        # Lightning raises ImportError for an extra that is not installed.
        refusals = (*_REFUSALS, AttributeError, RuntimeError, ImportError)
        return isinstance(error, refusals) or type(error).__name__ == MISCONFIGURED
    # torch's layers raise it for a size of -1, say
    is_of_layer = any(module_of(trace).startswith("torch.nn.modules.") for trace in frames)
    return isinstance(error, _REFUSALS) or (type(error) is RuntimeError and is_of_layer)


def argument_in(message: str, names: Iterable[str]) -> str:
    """Return the argument that a message names first: in quotes, with its value, or as no word is written; or empty."""
    places = {}
    for name in names:
        word = re.escape(str(name))
        # A name with an underscore is no English word; a bare word counts only in quotes or as `word=value`.
        pattern = rf"(?<!\w){word}(?!\w)" if "_" in word else rf"[`'\"]{word}[`'\"]|(?<![\w.]){word} ?=(?!=)"
        named = re.search(pattern, message) if name not in SPECIAL else None
        if named is not None:
            places[str(name)] = named.start()
    return min(places, key=lambda name: places[name], default="")


def argument_by_value(message: str, definition: Mapping[str, Any]) -> str:
    """Return the one argument whose text a message has as a word; empty where there is none, or are several."""
    if "your machine only has" in message:  # Lightning's, of GPUs
        return "devices" if "devices" in definition else ""
    told = [
        str(name)
        for name, value in definition.items()
        if name not in SPECIAL and isinstance(value, str) and value
        if re.search(rf"(?<!\w){re.escape(value)}(?!\w)", message, re.IGNORECASE)
    ]
    return told[0] if len(told) == 1 else ""


def without_example(message: str) -> str:
    # The example at the end of a message of ours has other arguments in it.
    return message.partition("For example")[0]


def join_if(path: str, key: str) -> str:
    return join(path, key) if key else path


def _misfit(definition: Mapping[str, Any], failure: Failure) -> Fault | None:
    named = {str(key): UNKNOWN for key in definition if key not in SPECIAL}
    unnamed = definition.get("_args_", [])
    # The module adds arguments of its own: `params` to an optimizer.
    added = [key for key in failure.arguments if key not in definition]
    call = Call([UNKNOWN] * len(unnamed) if isinstance(unnamed, list) else None, named, filled=added)
    signature = signature_of(failure.target)
    misfit = next(signature.misfits(call), None) if signature is not None else None
    if misfit is None:
        return None
    where = join(failure.path, misfit.argument) if isinstance(misfit.argument, str) else failure.path
    return f"{definition['_target_']}: {misfit.message}", misfit.hint, where


def _circumstances(objects: Objects, path: str) -> str:
    node, definition = objects.tree.find(path), objects.called(path)
    written = f" ({node.origin})" if node is not None else ""
    if not is_target(definition):
        return f"while `{path}`{written} was made"
    unnamed = definition.get("_args_")
    shown = [_shown(value) for value in unnamed] if isinstance(unnamed, list) else []
    shown += [f"{key}={_shown(value)}" for key, value in definition.items() if key not in SPECIAL]
    return f"while `{path}`{written} was made, calling {definition['_target_']}({', '.join(shown)})"


def _shown(value: Any) -> str:
    return f"{value['_target_']}(...)" if is_target(value) else reprlib.repr(value)


def traces(error: BaseException) -> list[TracebackType]:
    """Return the frames of an error, the outermost first."""
    frames = [error.__traceback__] if error.__traceback__ is not None else []
    while frames and frames[-1].tb_next is not None:
        frames.append(frames[-1].tb_next)
    return frames


def module_of(trace: TracebackType) -> str:
    return str(trace.tb_frame.f_globals.get("__name__", ""))


def package_of(trace: TracebackType) -> str:
    return module_of(trace).partition(".")[0]
