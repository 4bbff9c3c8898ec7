"""Where in the config a failure of the user's code belongs: notes that an exception gains while a run goes on."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from lighter.config.objects import Objects
from lighter.config.problems import shortened
from lighter.engine.families import PACKAGES
from lighter.errors import add_note
from lighter.parts.describe import describe

_WIDEST = 200
_BETWEEN = (  # what calls the user's code, rather than what the config names
    "lighter.",
    *(f"{package}.{part}" for package in PACKAGES for part in ("core", "trainer")),
)


@contextmanager
def where_it_failed(objects: Objects) -> Iterator[None]:
    """Let an exception say which object of the config failed, where that is written, and how it was called."""
    try:
        yield
    except Exception as error:
        for note in _notes(objects, error):
            add_note(error, note)
        raise


def _notes(objects: Objects, error: BaseException) -> list[str]:
    """The innermost call of an object that the config defines, and the step that it was made in."""
    made = objects.made()
    calls: list[tuple[str, FrameType]] = []
    trace = error.__traceback__
    while trace is not None:
        path = made.get(id(_self(trace.tb_frame)))
        between = str(trace.tb_frame.f_globals.get("__name__")).startswith(_BETWEEN)
        if path is not None and not between:
            calls.append((path, trace.tb_frame))
        trace = trace.tb_next
    steps = [call for call in calls if call[1].f_code.co_name.endswith("_step")][-1:]
    return [_note(objects, path, frame) for path, frame in dict.fromkeys([*calls[-1:], *steps])]


def _self(frame: FrameType) -> Any:
    """The object whose method runs in a frame."""
    names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
    return frame.f_locals.get(names[0]) if names else None


def _shown(value: Any) -> str:
    plain = isinstance(value, (bool, int, float, str))
    return reprlib.repr(value) if plain else f"<{shortened(describe(value), _WIDEST)}>"


def _note(objects: Objects, path: str, frame: FrameType) -> str:
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    given = {name: frame.f_locals[name] for name in code.co_varnames[1:count] if name in frame.f_locals}
    arguments = ", ".join(f"{name}={_shown(value)}" for name, value in given.items())
    node = objects.tree.find(path)
    written = f" ({node.origin})" if node is not None else ""
    kind = type(_self(frame))
    call = f"{kind.__module__}.{kind.__qualname__}.{code.co_name}"
    return f"while `{path}`{written} ran, calling {call}({arguments})"
