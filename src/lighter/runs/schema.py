"""The types of the values in `run.json`: a record with others is refused where it is read, and trusted afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Required:
    """A key that has to be there. All others may be missing, or null."""

    shape: Shape


@dataclass(frozen=True)
class Each:
    """A dict whose values all have one type."""

    shape: Shape


_NUMBER = "a number"
_NAMES = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "missing"}
Shape: TypeAlias = "type | str | Required | Each | list[Shape] | dict[str, Shape]"
"""A type, `_NUMBER`, a list with the type of its items, or a dict with the types of the keys that are known."""

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
    "stage": Required(str),
    "status": Required(str),
    "safe": bool,
    "reproduces": str,
    "arguments": Each(object),
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
    "code": Each(str),
    "software": {"python": str, "lighter": str, "packages": Each(str)},
    "hardware": Each(object),
    "trainer": Each(object),
    "data": Each(object),
    "loggers": [{"class": str, "folder": str, "run_id": str}],
    "checkpoints": [{"path": Required(str), "monitor": str, "score": _NUMBER}],
    "metrics": Each(_NUMBER),
    "progress": {"epoch": int, "step": int},
    "starts": [_START],
    "resumed": Each(object),
    "source_of_last_start": Each(object),
}


def fault(value: Any, shape: Shape, name: str = "it") -> str | None:
    """Describe the first thing in a value that is not of its type; None if all is right."""
    kind: Any = type(shape) if isinstance(shape, (list, dict)) else dict if isinstance(shape, Each) else shape
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
    elif isinstance(shape, Each):
        yield from ((item, shape.shape, f"`{key}`") for key, item in value.items() if shape.shape is not object)
    elif isinstance(shape, dict):
        for key, inner in shape.items():
            if isinstance(inner, Required):
                yield value.get(key), inner.shape, f"`{key}`"
            elif value.get(key) is not None:
                yield value[key], inner, f"`{key}`"


def _is_number(value: object) -> bool:
    # or the name of a number that JSON does not have: `nan`
    try:
        return not isinstance(value, bool) and isinstance(float(value), float)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False
