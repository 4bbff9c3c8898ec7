"""Refuse overrides of methods that upstream's modules call and ours do not."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from types import CodeType

from lighter.errors import ModuleTypeError


def refuse_uncalled(kind: type, instead: Mapping[str, str]) -> None:
    """Raise a ModuleTypeError if a user's class overrides a method of `instead`, which says what to override.

    A method of such a name that the class itself uses is the user's own helper.
    """
    # from the first class of ours on, everything is Lighter's, Lightning's and torch's
    users = itertools.takewhile(lambda base: not base.__module__.startswith("lighter."), kind.__mro__)
    written = [(name, member) for base in users for name, member in vars(base).items()]
    for name in dict(written):
        if name not in instead or any(name in _names(member) for other, member in written if other != name):
            continue
        raise ModuleTypeError(f"{kind.__name__} overrides `{name}`, which Lighter does not call: {instead[name]}")


def _names(member: object) -> set[str]:
    # a measured step wraps the user's; nested functions are among a code's constants
    codes = [getattr(getattr(member, "unmeasured", getattr(member, "__func__", member)), "__code__", None)]
    names: set[str] = set()
    while codes:
        code = codes.pop()
        if isinstance(code, CodeType):
            codes += code.co_consts
            # texts too: the method may be called by `getattr(self, "name")`
            names |= {*code.co_names, *(constant for constant in code.co_consts if isinstance(constant, str))}
    return names
