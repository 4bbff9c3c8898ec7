"""Find where in the config a failure belongs: the user's exception gains notes, Lightning's becomes a `ConfigError`."""

from __future__ import annotations

import re
import reprlib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType

import pytorch_lightning as pl

from lighter._lightning.saves import original_of
from lighter.config.check.sections import STAGES
from lighter.config.faults import (
    LIGHTNING,
    MISCONFIGURED,
    argument_by_value,
    argument_in,
    is_refusal,
    join_if,
    module_of,
    package_of,
    traces,
)
from lighter.config.objects import Objects
from lighter.config.problems import Problem, closest, shortened
from lighter.config.tree import join, split
from lighter.engine.lightning_classes import NAMES
from lighter.engine.report import REPORT
from lighter.errors import ConfigError, LighterError, MisfitError, add_note
from lighter.parts.describe import describe

_WIDEST = 200
_MOST_LINES, _WIDEST_LINE = 10, 110
_MONITOR = re.compile(r"(?:conditioned on metric `?|ModelCheckpoint\(monitor=')([^`'\s]+)")
_BETWEEN = (  # code that calls the user's, rather than what the config names
    "lighter.",
    *(f"{package}.{part}" for package in NAMES for part in ("core", "trainer")),
)
Frames = Sequence[TracebackType]


@contextmanager
def where_it_failed(objects: Objects) -> Iterator[None]:
    """Let an exception say which object of the config failed, where that is written, and how it was called.

    Raises:
        ConfigError: the config does not fit the module; or Lightning complains of the config, and no code of the user's
            asked it to do anything.
    """
    try:
        yield
    except MisfitError as error:
        problems = _misfits(objects, error)
        if not problems:
            raise
        raise ConfigError(problems) from error
    except LighterError:
        raise
    except Exception as error:
        complaint = _complaint(objects, error)
        if complaint is not None:
            raise ConfigError([complaint]) from error
        for note in _notes(objects, error):
            add_note(error, note)
        raise


def _misfits(objects: Objects, error: MisfitError) -> list[Problem]:
    section = objects.followed(objects.module_section)
    path = join(section, error.key) if error.key else _that_ran(objects, traces(error), "callbacks")
    if split(error.key)[:1] == [REPORT]:
        path = error.key if objects.has(REPORT) else _that_ran(objects, traces(error), "callbacks")
    details = error.details or [(str(error), "")]
    return [objects.problem(text, objects.written_at(path, name) if name else path) for text, name in details if path]


def _complaint(objects: Objects, error: Exception) -> Problem | None:
    """Return a complaint of Lightning's about the config, or of torch's that a callback causes; None otherwise."""
    frames = traces(error)
    lacks = _missing_attribute(error, frames)
    # The frame of torch's `__getattr__` only says that the attribute is missing; whoever asked for it is before that.
    while lacks is not None and frames and frames[-1].tb_frame.f_code.co_name == "__getattr__":
        frames = frames[:-1]
    if not frames or not is_refusal(error, frames):
        return None
    callback = _that_ran(objects, frames, "callbacks")
    if package_of(frames[-1]) not in LIGHTNING:
        asks = callback and _asks_torch(objects, callback, frames)
        return _of_callback(objects, callback, str(error).strip()) if asks else None
    if lacks is not None:
        return _of_missing_attribute(objects, callback, *lacks)
    return _of_lightning(objects, error, callback, frames)


def _asks_torch(objects: Objects, callback: str, frames: Frames) -> bool:
    # Nothing may be in between: code of the user's that calls torch has its own mistake.
    others = [trace for trace in frames if package_of(trace) != "torch"]
    # All frames of torch's come after the callback's.
    calls = others[-1:] == frames[len(others) - 1 : len(others)]
    is_lightnings = str(objects.called(callback)["_target_"]).partition(".")[0] in LIGHTNING
    return calls and is_lightnings and objects.made().get(id(_self(others[-1].tb_frame))) == callback


def _of_lightning(objects: Objects, error: Exception, callback: str, frames: Frames) -> Problem | None:
    message, trainer = str(error).strip(), objects.followed("trainer")
    # Most of Lightning's messages are about an argument of the trainer.
    for path in (trainer, *(f"args::{stage}" for stage in STAGES)):
        written = objects.called(path) if objects.has(path) else None
        key = argument_in(message, written) if isinstance(written, Mapping) else ""
        if key:
            return objects.problem(f"Trainer: {message}", join(path, key))
    section = "system" if objects.has("system") else "data"
    if "apply_to_collection" in message:
        return objects.problem(f"a batch cannot be moved to the device: {message}", section)
    if "invalid dataloader" in message:
        return objects.problem(message, section)
    monitor = _MONITOR.search(message)
    if monitor is not None:
        return _unlogged(objects, monitor[1], callback, frames)
    if callback:
        return _of_callback(objects, callback, message)
    strategy = _that_ran(objects, frames, "strategy") if isinstance(error, TypeError) else ""
    is_complaint = strategy or type(error).__name__ == MISCONFIGURED
    return objects.problem(message, strategy or trainer) if is_complaint else None


def _of_callback(objects: Objects, callback: str, message: str) -> Problem:
    definition = objects.called(callback)
    key = argument_in(message, definition) or argument_by_value(message, definition)
    section, path = objects.followed(objects.module_section), join_if(callback, key)
    value = objects.lookup(path)
    names = [name for name in re.findall(r"[`']([^`' ]+)[`']", message) if name not in (split(path)[-1], value)]
    # A callback that names a module or an attribute may have meant one of these.
    names += _attributes(objects.get(section)) if objects.has(section) else []
    return objects.problem(message, path, closest(value, names) if isinstance(value, str) else "")


def _missing_attribute(error: Exception, frames: Frames) -> tuple[object, str] | None:
    """Return an object and the name of the attribute that it does not have, if that is the error."""
    if not isinstance(error, AttributeError) or not frames:
        return None
    named = re.search(r"has no attribute '(\w+)'", str(error))
    # torch's own error does not say of which module
    is_modules = frames[-1].tb_frame.f_code.co_name == "__getattr__"
    return (_self(frames[-1].tb_frame) if is_modules else error.obj, named[1]) if named is not None else None


def _of_missing_attribute(objects: Objects, callback: str, lacking: object, name: str) -> Problem | None:
    path = objects.made().get(id(lacking))
    if not callback or path is None:
        return None
    needing = str(objects.called(callback)["_target_"]).rpartition(".")[2]
    message = f"{needing} needs an attribute `{name}` of `{path}`, and {type(lacking).__name__} has none"
    names = _attributes(lacking)
    parts = [*getattr(lacking, "_modules", ())] or names
    return objects.problem(message, callback, closest(name, names) or f"It has: {', '.join(parts) or 'none'}.")


def _attributes(holder: object) -> list[str]:
    names = [*getattr(holder, "_modules", ()), *vars(holder), *getattr(holder, "hparams", ())]
    return [name for name in dict.fromkeys(names) if not name.startswith("_")]


def _unlogged(objects: Objects, name: str, callback: str, frames: Frames) -> Problem:
    """Return the problem of a monitor that nothing has logged."""
    trainers = (holder for trace in frames if isinstance(holder := _self(trace.tb_frame), pl.Trainer))
    trainer = next(trainers, None)
    # Lightning lists all names, the least useful first.
    names = sorted(trainer.callback_metrics if trainer is not None else (), key=_rank)
    monitors = [path for path, node in objects.tree.walk() if split(path)[-1:] == ["monitor"] and node.value == name]
    written = [path for path in monitors if path.startswith(callback)] or monitors
    # The value of its `monitor` may be an expression, which equals no name.
    if callback and objects.has(join(callback, "monitor")):
        written = [join(callback, "monitor")]
    lines = textwrap.wrap(
        f"There is: {', '.join(names) or 'nothing'}.", _WIDEST_LINE, break_long_words=False, break_on_hyphens=False
    )
    hint = "\n".join(filter(None, [closest(name, names), *lines[:_MOST_LINES]]))
    return objects.problem(f"nothing has logged `{name}`", written[0] if written else callback or "trainer", hint)


def _rank(name: str) -> tuple[bool, bool, bool]:
    """Put losses and metrics of epochs first, those of validations before others, and the optimizers' values last."""
    return name.startswith(("train/optimizer/", "train/lr")), name.endswith("/step"), not name.startswith("val")


def _that_ran(objects: Objects, frames: Frames, kind: str) -> str:
    """Return the path of the innermost object of the config's below such a key that ran; empty if none did."""
    made = objects.made()
    ran = [made.get(id(_self(trace.tb_frame)), "") for trace in frames]
    return next((path for path in reversed(ran) if kind in split(path)), "")


def _notes(objects: Objects, error: BaseException) -> list[str]:
    """Describe the innermost call of an object that the config defines, and the step that it was made in."""
    made = objects.made()
    calls = [
        (path, trace.tb_frame)
        for trace in traces(error)
        if (path := made.get(id(_self(trace.tb_frame)))) is not None and not module_of(trace).startswith(_BETWEEN)
    ]
    steps = [call for call in calls if call[1].f_code.co_name.endswith("_step")][-1:]
    return [_note(objects, path, frame) for path, frame in dict.fromkeys([*calls[-1:], *steps])]


def _note(objects: Objects, path: str, frame: FrameType) -> str:
    code = frame.f_code
    # 4 and 8: the flags of `*args` and `**kwargs`, which come after the other arguments.
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    values = {name: frame.f_locals[name] for name in code.co_varnames[1:count] if name in frame.f_locals}
    arguments = ", ".join(f"{name}={_shown(value)}" for name, value in values.items())
    node = objects.tree.find(path)
    written = f" ({node.origin})" if node is not None else ""
    kind = type(_self(frame))
    call = f"{kind.__module__}.{kind.__qualname__}.{code.co_name}"
    return f"while `{path}`{written} ran, calling {call}({arguments})"


def _shown(value: object) -> str:
    plain = isinstance(value, (bool, int, float, str))
    return reprlib.repr(value) if plain else f"<{shortened(describe(value), _WIDEST)}>"


def _self(frame: FrameType) -> object:
    """Return the object whose method runs in a frame; of a guarded callback, the one that the config made."""
    names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
    return original_of(frame.f_locals.get(names[0])) if names else None
