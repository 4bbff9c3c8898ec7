"""Transforms of values: a callable or a list of them, applied in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lighter.errors import ModuleTypeError, add_note
from lighter.parts.describe import describe

Transforms = Callable[[Any], Any] | Sequence[Callable[[Any], Any]] | None


def transforms_of(given: Transforms, name: str) -> list[Callable[[Any], Any]]:
    listed: list[Any] = list(given) if isinstance(given, (list, tuple)) else [] if given is None else [given]
    for transform in listed:
        if not callable(transform):
            raise ModuleTypeError(f"`{name}` takes a callable or a list of them; found {describe(transform)}")
    return listed


def apply_transforms(transforms: Sequence[Callable[[Any], Any]], value: object, name: str) -> Any:
    for transform in transforms:
        try:
            value = transform(value)
        except Exception as error:
            # an object's `repr` tells its settings, and a function's name says more than its address
            shown = getattr(transform, "__name__", None) or repr(transform)
            add_note(error, f"while `{name}` applied {shown} to {describe(value)}")
            raise
    return value
