"""Refuse overrides of methods that upstream's modules call and ours do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import CodeType

from lighter.errors import ModuleTypeError


def refuse_uncalled(kind: type, instead: Mapping[str, str]) -> None:
    """Raise a ModuleTypeError if a user's class overrides such a method.

    A method of such a name that the class itself uses is the user's own helper.

    Args:
        kind: the class of a module.
        instead: by the names of such methods, what to override instead.
    """
    written = [(name, member) for each in _classes_of_users(kind) for name, member in vars(each).items()]
    for name in dict(written):
        if name not in instead or any(name in _names(member) for other, member in written if other != name):
            continue
        raise ModuleTypeError(f"{kind.__name__} overrides `{name}`, which Lighter does not call: {instead[name]}")


def _classes_of_users(kind: type) -> Iterator[type]:
    for each in kind.__mro__:
        if each.__module__.startswith("lighter."):  # what follows is Lighter's, Lightning's and torch's
            return
        yield each


def _names(member: object) -> set[str]:
    """Return the names that a method's code uses, in nested functions too."""
    code = getattr(getattr(member, "unmeasured", getattr(member, "__func__", member)), "__code__", None)
    ahead, found = [code], set()
    while ahead:
        here = ahead.pop()
        if isinstance(here, CodeType):
            ahead += here.co_consts
            found |= {*here.co_names, *(name for name in here.co_consts if isinstance(name, str))}
    return found
