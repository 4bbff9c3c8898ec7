"""Stand-ins for an object of the user, which differ from it in a few methods."""

from __future__ import annotations

from typing import Any


class Proxy:
    """Stand in for an object: attributes and `isinstance` are the object's, which stays as it is.

    Subclasses define the methods that differ. Python looks up `obj[key]` and its like in the class, so a subclass has
    to define those too.
    """

    __slots__ = ("_wrapped",)

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
