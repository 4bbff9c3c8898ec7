"""The types of the values in `run.json`: a record with others is refused where it is read, and trusted afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias


class Required(NamedTuple):
    """A key that has to be there. All others may be missing, or null."""

    shape: Shape


_NUMBER = "a number"
_NAMES = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "missing"}
# a type, `_NUMBER`, a list with the type of its items, or a dict with the types of its keys; `*` stands for all keys
Shape: TypeAlias = "type | str | Required | list[Shape] | dict[str, Shape]"

_START: dict[str, Shape] = {
    "command": [str],
    "cwd": str,
    "host": str,
    "pid": int,
    "process_started": str,
    "slurm": {"job": Required(str), "restarts": Required(str)},
    "started": str,
    "ended": str,
    "overrides": [str],
    "status": str,
    "seconds": _NUMBER,
    "error": {"type": Required(str), "message": Required(str)},
    "checkpoint": str,
}
RECORD: dict[str, Shape] = {
    **_START,
    "id": str,
    "name": str,
    "launch": {
        "kind": Required(str),
        "name": Required(str),
        "user": int,
        "requeue": int,
        "submitted": str,
        "before": str,
    },
    "stage": Required(str),
    "status": Required(str),
    "safe": bool,
    "reproduces": str,
    "arguments": {"*": object},
    "inputs": [{"path": str, "sha256": str}],
    "source": {
        "root": Required(str),
        "commit": str,
        "digest": str,
        "changed": bool,
        "untracked": [str],
        "redacted": [str],
        "left_out": [str],
    },
    "code": {"*": str},
    "software": {"python": str, "lighter": str, "packages": {"*": str}},
    "hardware": {"*": object},
    "trainer": {"*": object},
    "data": {"*": object},
    "split": {"*": object},
    "loggers": [{"class": str, "folder": str, "run_id": str}],
    "checkpoints": [{"path": Required(str), "monitor": str, "score": _NUMBER}],
    "metrics": {"*": _NUMBER},
    "progress": {"epoch": int, "step": int},
    "steps_made": int,
    "starts": [_START],
    "resumed": {"*": object},
    "source_of_last_start": {"*": object},
}


def fault(value: Any, shape: Shape, name: str = "it") -> str | None:
    """Describe the first thing in a value that is not of its type; None if all is right."""
    kind: Any = type(shape) if isinstance(shape, (list, dict)) else shape
    if kind == _NUMBER:
        is_right = _is_number(value)
    else:  # true and false are integers to Python alone
        is_right = isinstance(value, kind) and (kind is not int or not isinstance(value, bool))
    if not is_right:
        return f"{name} is {_NAMES.get(type(value), _NUMBER)}, and should be {_NAMES.get(kind, _NUMBER)}"
    return next((wrong for inner in _inner(value, shape) if (wrong := fault(*inner)) is not None), None)


def _inner(value: Any, shape: Shape) -> Iterator[tuple[Any, Shape, str]]:
    if isinstance(shape, list):
        yield from ((item, shape[0], "an item of a list") for item in value)
    for key, inner in shape.items() if isinstance(shape, dict) else ():
        if key == "*":
            yield from ((item, inner, f"`{name}`") for name, item in value.items())
        elif isinstance(inner, Required):
            yield value.get(key), inner.shape, f"`{key}`"
        elif value.get(key) is not None:
            yield value[key], inner, f"`{key}`"


def _is_number(value: object) -> bool:
    # or the name of a number that JSON does not have: `nan`
    try:
        return not isinstance(value, bool) and isinstance(float(value), float)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False
