"""Public names for private attributes and methods of Lightning's classes."""

from __future__ import annotations

from operator import attrgetter
from typing import Any


def alias(name: str) -> Any:
    """Make a property that reads and writes the attribute `name`."""

    def write(owner: object, value: object) -> None:
        setattr(owner, name, value)

    # a function of Python in its place would cost more than the attribute: loops read it several times a batch
    return property(attrgetter(name), write)


class Renamed:
    """A class that gives private methods of its base class public names, under which subclasses override them.

    Example:
        class Loop(Renamed, LightningsLoop):
            evaluation_step = LightningsLoop._evaluation_step

        class LeanLoop(Loop):
            def evaluation_step(self, ...):  # Lightning, which calls `_evaluation_step`, calls this
                super().evaluation_step(...)
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, method in list(vars(cls).items()):
            # an alias is the base's function itself, whose `__name__` is still the private one
            inherited = [getattr(vars(base).get(name), "__name__", name) for base in cls.__mro__[1:]]
            for private in [each for each in inherited if each != name and callable(method)]:
                # Lightning calls the private name, which would still lead to the base class
                setattr(cls, private, method)
