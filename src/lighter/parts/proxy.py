"""Stand-ins for an object of the user, which differ from it in a few methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Proxy:
    """Stand in for an object: attributes and `isinstance` are the object's, which stays as it is.

    Subclasses define the methods that differ. Python looks up `obj[key]` and its like in the class, so a subclass has
    to define those too.
    """

    __slots__ = ("__weakref__", "_wrapped")  # torch.compile refers to what it looks at weakly

    def __init__(self, wrapped: object) -> None:
        object.__setattr__(self, "_wrapped", wrapped)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # what `isinstance` asks beside `type`
        return type(self._wrapped)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._wrapped, name, value)

    def __repr__(self) -> str:
        return repr(self._wrapped)


def wrapped_by(value: object) -> Any:
    """Return the object that a proxy stands for; anything else as it is."""
    return value._wrapped if isinstance(value, Proxy) else value


@torch.compiler.disable  # type: ignore[untyped-decorator]
def uncompiled(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function outside of the graph that `torch.compile` makes of the user's code around it."""
    return function(*args, **kwargs)
