"""Values of a config as a signature has them: a tuple where it has a tuple, an enum's member where it has an enum.

YAML has neither. Only what a parameter's annotation rules out is converted; everything else is handed over as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum
from inspect import Parameter
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from lighter.config.annotations import UNIONS
from lighter.config.signatures import BY_POSITION, signature_of

_LISTS = (list, Sequence, Iterable, Collection)


def converted(target: Any, positional: Sequence[Any], named: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    signature = signature_of(target)
    if signature is None:
        return [*positional], {**named}
    by_position = [item.annotation for item in signature.parameters.values() if item.kind in BY_POSITION]
    rest = [item.annotation for item in signature.parameters.values() if item.kind is Parameter.VAR_POSITIONAL]
    annotations = [*by_position, *(rest or [Parameter.empty]) * len(positional)]
    values = [as_annotated(value, annotation) for value, annotation in zip(positional, annotations, strict=False)]
    items = {
        key: as_annotated(value, signature.parameters[key].annotation) if key in signature.parameters else value
        for key, value in named.items()
    }
    return values, items


def as_annotated(value: Any, annotation: Any) -> Any:
    """Return a value as an annotation has it: the same object unless it has to be converted."""
    if type(value) is not list and not isinstance(value, str):
        return value
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in UNIONS:
        # An option that takes the value as it is comes before one that would convert it.
        if any(_accepts(value, option) for option in args):
            return value
        results = [as_annotated(value, option) for option in args]
        return next((result for result in results if result is not value), value)
    if origin is Annotated:
        return as_annotated(value, args[0])
    kind = origin or annotation
    if kind is tuple and type(value) is list:
        return _as_tuple(value, args)
    if kind in _LISTS and type(value) is list and args:
        # The same list, if nothing in it changes: others may refer to it, and see what is added to it.
        items = [as_annotated(item, args[0]) for item in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if isinstance(kind, type) and issubclass(kind, Enum) and type(value) is str:
        return kind.__members__.get(value, value)
    return value


def _as_tuple(value: list[Any], args: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    if len(args) != len(value):
        return tuple(value)
    return tuple(as_annotated(item, arg) for item, arg in zip(value, args, strict=True))


def _accepts(value: object, option: Any) -> bool:
    if option is None or option is type(None):
        return value is None
    origin = get_origin(option)
    if option is Any or isinstance(option, TypeVar):
        return True
    if origin is Literal:
        return value in get_args(option)
    try:
        is_instance = isinstance(value, origin or option)
    except TypeError:  # it cannot be asked
        return True
    args = get_args(option)
    inside = value if is_instance and isinstance(value, list) and args else ()
    return is_instance and all(_accepts(item, args[0]) for item in inside)
