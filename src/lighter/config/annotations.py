"""Check values of a config against annotations of Python's.

Lenient: what cannot be told fits. A value that is worked out later (`@a::b`, `$...`, an object) is `UNKNOWN`, and
classes whose users often hand over something else, a path, an enum's name, a list for an array, take anything.
"""

from __future__ import annotations

import collections.abc
import inspect
import types
from collections.abc import Iterator
from enum import Enum, Flag
from os import PathLike
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from lighter.config.problems import indefinite, shortened

UNKNOWN = object()
"""Stands for a value that is not known before it is made."""

UNIONS = (Union, types.UnionType)
_NUMBERS: dict[type, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), complex: (int, float)}
LISTS = (
    *(list, tuple, set, frozenset, collections.deque, collections.abc.Sequence, collections.abc.Set),
    *(collections.abc.Iterable, collections.abc.Collection),
)
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_CALLABLE: Any = collections.abc.Callable
_STRICT = ("torch", "torchmetrics", "pytorch_lightning", "lightning", "lightning_fabric", "lighter")
_LENIENT = ("device", "dtype", "Size", "layout", "memory_format", "Dataset", "IterableDataset", "Sampler")


def fits(value: object, annotation: Any) -> bool:
    """Return whether a plain value may be handed over for a parameter that is annotated like this."""
    if value is UNKNOWN or annotation in (Any, object, inspect.Parameter.empty):
        return True
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in UNIONS:
        return any(fits(value, option) for option in args)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in args)
    if origin is Annotated:
        return fits(value, args[0])
    if annotation is None or annotation is type(None):
        return value is None
    # `NewType` has the first, `type X = ...` the second.
    inner = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)
    if inner is not None and not isinstance(annotation, type):
        return fits(value, inner)
    kind = origin or annotation
    # what is no class, a type variable say, cannot be told
    return not isinstance(kind, type) or _fits_class(value, kind, args)


def _fits_class(value: object, kind: type, args: tuple[Any, ...]) -> bool:
    if issubclass(kind, Enum) and not issubclass(kind, Flag) and isinstance(value, str):
        return _bare(value) in map(_bare, (*kind.__members__, *(str(member.value) for member in kind)))
    # A list is a dataset to torch, and so is a dict, unless it reads like arguments.
    if kind.__module__.startswith("torch.utils.data.") and kind.__name__ in ("Dataset", "IterableDataset"):
        return isinstance(value, list) or (isinstance(value, dict) and not any(isinstance(key, str) for key in value))
    if kind in _NUMBERS:
        return _fits_number(value, kind)
    if kind in (str, PathLike) or issubclass(kind, PurePath):
        return isinstance(value, str)
    if kind in MAPPINGS:
        return isinstance(value, dict) and all(fits(item, args[1]) for item in value.values() if len(args) == 2)
    if kind in LISTS:
        return _fits_list(value, kind, args)
    # Only classes of these packages are known to ask `isinstance`; others may convert what they are given.
    is_ours = kind.__module__.partition(".")[0] in _STRICT and kind.__name__ not in _LENIENT
    takes_instances_only = is_ours and not issubclass(kind, Enum) and not getattr(kind, "_is_protocol", False)
    return not (takes_instances_only or kind is _CALLABLE) or _is_instance(value, kind)


def _bare(word: str) -> str:
    # Libraries that take an enum's member by its text compare it without case and signs.
    return "".join(letter for letter in word.lower() if letter.isalnum())


def _fits_number(value: object, kind: type) -> bool:
    if isinstance(value, bool):  # Python's is an integer
        return True
    if kind is bool:
        return isinstance(value, int) and value in (0, 1)
    # YAML reads `1e3` as a float, and who writes it for a number of steps means an integer.
    return isinstance(value, _NUMBERS[kind]) or (isinstance(value, float) and value.is_integer())


def _fits_list(value: object, kind: type, args: tuple[Any, ...]) -> bool:
    if not isinstance(value, list):
        return _is_instance(value, kind)
    if kind is not tuple or not args or args[1:] == (Ellipsis,):
        return not args or all(fits(item, args[0]) for item in value)
    return len(value) == len(args) and all(map(fits, value, args))


def _is_instance(value: object, kind: type) -> bool:
    # Some protocols and generic aliases cannot be asked: then it may be.
    try:
        return isinstance(value, kind)
    except TypeError:
        return True


def shown(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is None or annotation is type(None):
        return "null"
    listed = [*dict.fromkeys(map(repr, choices(annotation)))]
    if origin in UNIONS:
        others = [shown(option) for option in args if option is not type(None) and not [*choices(option)]]
        options = [*dict.fromkeys([*listed, *others, *(["null"] if type(None) in args else [])])]
        return f"{', '.join(options[:-1])} or {options[-1]}" if len(options) > 1 else options[0]
    if origin is Annotated:
        return shown(args[0])
    if listed:
        return f"{', '.join(listed[:-1])} or {listed[-1]}" if len(listed) > 1 else listed[0]
    if isinstance(annotation, TypeVar):
        return "anything"
    name = getattr(origin or annotation, "__name__", None) or str(annotation).removeprefix("typing.")
    inside = [shown(arg) for arg in args if arg is not Ellipsis and not isinstance(arg, list)]
    return f"{name}[{', '.join(inside)}]" if inside and origin is not _CALLABLE else name


def as_written(value: object) -> str:
    if isinstance(value, dict):
        return shortened(f"{{{', '.join(f'{key}: {as_written(item)}' for key, item in value.items())}}}", 60)
    if isinstance(value, list):
        return shortened(f"[{', '.join(map(as_written, value))}]", 60)
    return "..." if value is UNKNOWN else indefinite(value)


def choices(annotation: object) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) in (*UNIONS, Annotated):
        for option in get_args(annotation):
            yield from choices(option)
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        yield from annotation.__members__
