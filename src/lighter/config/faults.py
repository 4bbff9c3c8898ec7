"""Whose mistake was it? An error that came up while an object was made, sorted out.

The config's mistakes become a `ConfigError` with their place: a name that leads nowhere, arguments that do not fit the
signature or that a library refuses, a wrong expression, a circle. What the user's code raises stays what it is, and
gains a note: the config path, where that was written, and the call. The frames of sparkwheel and of this package are
cut from it, and kept.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import reprlib
import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sparkwheel import BaseError, CircularReferenceError

from lighter.config.annotations import UNKNOWN
from lighter.config.locate import is_dotted, locate
from lighter.config.problems import closest
from lighter.config.signatures import KNOWN, Call, signature_of
from lighter.config.tree import Source, is_target, join
from lighter.errors import ConfigError, ModuleError, add_note, cut_traceback

if TYPE_CHECKING:
    from lighter.config.objects import Objects

OF_EXPRESSIONS = (AttributeError, TypeError, ValueError, LookupError, ArithmeticError)
_NOT_ARGUMENTS = ("_target_", "_args_", "_mode_", "_disabled_")
_REFUSALS = (TypeError, ValueError, LookupError, ArithmeticError)
LIGHTNING = ("pytorch_lightning", "lightning", "lightning_fabric", "lightning_utilities")
MISCONFIGURED = "MisconfigurationException"
_OURS = ("sparkwheel", "lighter.config", "pydoc", "importlib")


def explained(objects: Objects, error: BaseException, path: str) -> BaseException:
    """What to raise for an error: a `ConfigError`, or the user's own exception with a note."""
    if isinstance(error, BaseError) and error.source_location is not None:
        path = error.source_location.id or path
    elif not isinstance(error, BaseError):
        path = _resolving(error) or path
    cause: BaseException = error
    while isinstance(cause, BaseError) and cause.__cause__:
        cause = cause.__cause__
    if isinstance(cause, ConfigError):
        return cause
    fault = _fault(objects, cause, path)
    if fault is not None:
        message, hint, where = fault
        wrong = ConfigError([objects.problem(message, where, hint, at_key=where != path)])
        wrong.__cause__ = cause
        return wrong
    add_note(cause, _circumstances(objects, path))
    target = objects.called(path)["_target_"] if is_target(objects.called(path)) else path
    return as_exception(cut_traceback(cause, _users_traceback(cause)), str(target))


def as_exception(error: BaseException, caller: str) -> BaseException:
    """An error that ends the run as a failure: `exit(0)` somewhere in a constructor is no success."""
    if isinstance(error, Exception) or (isinstance(error, SystemExit) and _is_of_signal(error)):
        return error
    ended = ModuleError(f"`{caller}` ends the program: {_said(error)}")
    ended.__cause__ = error
    return ended


def _is_of_signal(error: SystemExit) -> bool:
    """Return whether the exit code is 128 + n, as a user's handler of signal n raises it."""
    return isinstance(error.code, int) and error.code > 128


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def why_not_found(name: str, source: Source | None = None) -> tuple[str, str]:
    """Message and hint for a dotted name that leads nowhere: how far it leads, and what is there.

    Args:
        source: the text that the name is written in: its module may be a file beside it.
    """
    parts = name.split(".")
    if not is_dotted(name):
        meant = ".".join(filter(None, map(str.strip, parts)))
        known = is_dotted(meant) and locate(meant) is not None
        hint = f"Did you mean `{meant}`?" if known else "For example: torch.nn.Linear"
        return f"`{name}` is no dotted name: that is names, joined by one dot each", hint
    for length in range(len(parts) - 1, 0, -1):
        found = locate(".".join(parts[:length]))
        if found is not None:
            inside = pkgutil.iter_modules(getattr(found, "__path__", []))
            public = [
                known for known in (*dir(found), *(module.name for module in inside)) if not known.startswith("_")
            ]
            others = [known for known in public if known != parts[length]]
            bare = parts[length].removeprefix("Lighter") if parts[0] == "lighter" else parts[length]  # as it once was
            meant = f"Did you mean `{bare}`?" if bare in others else closest(parts[length], others)
            return f"`{'.'.join(parts[:length])}` has no `{parts[length]}`", meant
    try:
        importlib.import_module(parts[0])
    except (ImportError, ValueError) as error:
        reason = str(error)
    else:
        reason = f"`{parts[0]}` is no package"
    if source is not None and (beside := _beside(name, source)):
        return f"`{name}` cannot be imported: {reason}", beside
    hint = closest(parts[0], {*sys.builtin_module_names, *(module.name for module in pkgutil.iter_modules())})
    if len(parts) == 1 and name[:1].isupper():
        hint = f"A class is written with its module: `package.module.{name}`."
    hint = hint or "Is it installed here? A module of your own is found in the working directory, or by `project:`."
    return f"`{name}` cannot be imported: {reason}", hint


def _beside(name: str, source: Source) -> str:
    """Return how a module is imported that is a file or a folder beside a config, or one folder up; else nothing."""
    module = name.partition(".")[0]
    for project, folder in ((".", source.folder), ("..", source.folder.parent)) if source.is_file else ():
        for file in (folder / f"{module}.py", folder / module):
            if file.is_file() or (file.is_dir() and any(file.glob("*.py"))):
                return (
                    f"It is {file}, and Python looks in the working directory. In {source.name}: "
                    f"`project: {project}` at the top, and `project.{name}` here. Or start from {folder}."
                )
    return ""


def is_of_safe_mode(error: BaseException) -> bool:
    """Whether it came up in the interpreter of safe mode itself, and not in what that called."""
    innermost = _innermost(error)
    return innermost is not None and _module(innermost).startswith("lighter.config.safe")


def _fault(objects: Objects, cause: BaseException, path: str) -> tuple[str, str, str] | None:
    """Message, hint and path of the config's mistake; None where it is not the config's."""
    if isinstance(cause, CircularReferenceError):
        return "these references go round in a circle", str(cause._original_message), path
    if isinstance(cause, BaseError):
        return str(cause._original_message), "", path
    definition = objects.called(path)
    if isinstance(cause, ModuleError):
        named = argument_in(without_example(str(cause)), definition) if is_target(definition) else ""
        return str(cause), "", join_if(path, cause.key or named)
    if _is_of_expression(cause):
        return f"this expression fails: {_said(cause)}", _of_environment(cause), path
    innermost = _innermost(cause)
    ours = innermost is not None and _module(innermost).startswith("sparkwheel")
    called = ours and innermost is not None and innermost.tb_frame.f_code.co_name in ("instantiate", "runcall")
    if ours and not called:
        return str(cause), "", path
    if not is_target(definition):
        return None
    misfit = _misfit(objects, definition, path) if isinstance(cause, TypeError) else None
    if misfit is None and called and isinstance(cause, TypeError):
        return f"{definition['_target_']} cannot be called like this: {cause}", "", path
    if misfit is None and is_refusal(cause, _frames_of_call(cause)):
        key = argument_in(str(cause), definition) or argument_by_value(str(cause), definition)
        return f"{definition['_target_']}: {cause}", "", join_if(path, key)
    return misfit


def _of_environment(cause: BaseException) -> str:
    """A hint where an expression asks for a variable that the environment has not; empty for other errors."""
    innermost = _innermost(cause)
    if not isinstance(cause, KeyError) or innermost is None or _module(innermost) != "os":
        return ""
    return f"The environment has no variable {cause.args[0]}. With a default: `os.environ.get('NAME', 'x')`."


def _is_of_expression(cause: BaseException) -> bool:
    """Return whether an expression failed, rather than code of the user's that it called."""
    frames = traces(cause)
    starts = [number for number, trace in enumerate(frames) if "__local_refs" in trace.tb_frame.f_globals]
    return bool(starts) and all(_is_of_library(_module(trace)) for trace in frames[starts[-1] + 1 :])


def _frames_of_call(cause: BaseException) -> list[TracebackType]:
    """The frames from the call of a target on."""
    frames = traces(cause)
    calls = [number for number, trace in enumerate(frames) if trace.tb_frame.f_code.co_name == "instantiate"]
    return frames[calls[-1] + 1 :] if calls else frames


def is_refusal(error: BaseException, frames: Iterable[TracebackType]) -> bool:
    """Return whether a library refuses its arguments: the frames have none of the user's code."""
    modules = [_module(trace) for trace in frames]
    if not all(map(_is_of_library, modules)):
        return False
    innermost = modules[-1] if modules else ""
    if innermost.partition(".")[0] in LIGHTNING:
        refusals = (*_REFUSALS, AttributeError, RuntimeError, ImportError)  # of an extra that is not installed
        return isinstance(error, refusals) or type(error).__name__ == MISCONFIGURED
    # of a size of -1, say
    of_a_layer = type(error) is RuntimeError and any(module.startswith("torch.nn.modules.") for module in modules)
    return of_a_layer or isinstance(error, _REFUSALS)


def _is_of_library(module: str) -> bool:
    return module.partition(".")[0] in KNOWN


def argument_in(message: str, names: Iterable[str]) -> str:
    """Return the argument that a message names first: in quotes, with its value, or as no word is written; or empty."""
    places = {}
    for name in names:
        word = re.escape(str(name))
        pattern = rf"(?<!\w){word}(?!\w)" if "_" in word else rf"[`'\"]{word}[`'\"]|(?<![\w.]){word} ?=(?!=)"
        named = re.search(pattern, message) if name not in _NOT_ARGUMENTS else None
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
        if name not in _NOT_ARGUMENTS and isinstance(value, str) and value
        if re.search(rf"(?<!\w){re.escape(value)}(?!\w)", message, re.IGNORECASE)
    ]
    return told[0] if len(told) == 1 else ""


def without_example(message: str) -> str:
    """Return a message of ours without the example at its end, which has other arguments in it."""
    return message.partition("For example")[0]


def join_if(path: str, key: str) -> str:
    """The path of an argument, or of the whole call where there is none."""
    return join(path, key) if key else path


def _misfit(objects: Objects, definition: Mapping[str, Any], path: str) -> tuple[str, str, str] | None:
    """The fault, if the arguments of a definition do not fit the signature of its target."""
    named = {str(key): UNKNOWN for key in definition if key not in _NOT_ARGUMENTS}
    added = [key for key in objects.arguments(path) if key not in definition]  # `params` to an optimizer
    unnamed = definition.get("_args_", [])
    signature = signature_of(objects.target(path))
    call = Call([UNKNOWN] * len(unnamed) if isinstance(unnamed, list) else None, named, filled=added)
    misfit = next(signature.misfits(call), None) if signature is not None else None
    if misfit is None:
        return None
    where = join(path, misfit.argument) if isinstance(misfit.argument, str) else path
    return f"{definition['_target_']}: {misfit.message}", misfit.hint, where


def _circumstances(objects: Objects, path: str) -> str:
    node = objects.tree.find(path)
    written = f" ({node.origin})" if node is not None else ""
    definition = objects.called(path)
    call = f", calling {_shown_call(definition)}" if is_target(definition) else ""
    return f"while `{path}`{written} was made{call}"


def _shown_call(definition: Mapping[str, Any]) -> str:
    unnamed = definition.get("_args_")
    shown = [_shown(value) for value in unnamed] if isinstance(unnamed, list) else []
    shown += [f"{key}={_shown(value)}" for key, value in definition.items() if key not in _NOT_ARGUMENTS]
    return f"{definition['_target_']}({', '.join(shown)})"


def _shown(value: Any) -> str:
    return f"{value['_target_']}(...)" if is_target(value) else reprlib.repr(value)


def traces(error: BaseException) -> list[TracebackType]:
    """The frames of an error, the outermost first."""
    found = []
    trace = error.__traceback__
    while trace is not None:
        found.append(trace)
        trace = trace.tb_next
    return found


def _innermost(error: BaseException) -> TracebackType | None:
    return next(reversed(traces(error)), None)


def _resolving(error: BaseException) -> str:
    """The path that sparkwheel was at when it failed without saying where."""
    steps = [trace.tb_frame for trace in traces(error) if trace.tb_frame.f_code.co_name == "_resolve_one_item"]
    return str(steps[-1].f_locals.get("id", "")) if steps else ""


def _module(trace: TracebackType) -> str:
    return str(trace.tb_frame.f_globals.get("__name__", ""))


def _users_traceback(error: BaseException) -> TracebackType | None:
    """The traceback from the first frame that is neither ours nor sparkwheel's."""
    return next((trace for trace in traces(error) if not _module(trace).startswith(_OURS)), error.__traceback__)
