"""Hooks that exist for Lightning only in some instances.

Lightning takes a hook for overridden if its code differs from its own, and looks through `__wrapped__` to find it.
Nothing is assigned over what a subclass defines, and nothing prevents pickling.

A function of ours is marked by an attribute that is the function itself: `functools.wraps` copies attributes, and a
user's function that wraps one of ours is not one of ours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any

from pytorch_lightning import LightningModule

from lighter.errors import StepMissingError


def missing_hook(name: str, advice: str = "") -> Callable[..., Any]:
    """Make a step or dataloader hook that does not exist for Lightning, and that says so when called by hand."""
    arguments = "(self, batch, batch_idx)" if name.endswith("_step") else "(self)"
    advice = advice or f"Write it:\n  def {name}{arguments}: ..."

    # Lightning follows `__wrapped__` to its own code, and so sees no override
    @functools.wraps(getattr(LightningModule, name))
    def hook(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise StepMissingError(f"{type(self).__name__} has no `{name}`. {advice}")

    hook.is_missing = hook  # type: ignore[attr-defined]
    return hook


class ExistsIf:
    """A hook that exists in those instances for which `exists(instance)` is true."""

    def __init__(self, hook: Callable[..., Any], exists: Callable[[Any], bool], advice: str = "") -> None:
        self.hook, self.exists = hook, exists
        self.missing = missing_hook(hook.__name__, advice)

    def __get__(self, instance: object, owner: object = None) -> Any:
        if instance is None:
            return self.hook
        return MethodType(self.hook if self.exists(instance) else self.missing, instance)


def is_marked(function: object, mark: str) -> bool:
    # `functools.wraps` copies the attribute too, but not the function that it is
    return function is not None and getattr(function, mark, None) is function


class OverriddenIf:
    """A hook that overrides Lightning's in those instances for which `condition(instance)` is true."""

    def __init__(self, hook: Callable[..., Any], condition: Callable[[Any], bool]) -> None:
        self.hook, self.condition = hook, condition
        self.default = getattr(LightningModule, hook.__name__)

    def __get__(self, instance: object, owner: object = None) -> Any:
        if instance is None:
            return self.default
        return MethodType(self.hook if self.condition(instance) else self.default, instance)


def followed_by(hook: Callable[..., Any], after: str) -> Callable[..., Any]:
    """Wrap a hook so that a method of the module is called after it, with the same arguments, whoever overrides it.

    It is called once, after the outermost of several overrides that call `super()`.
    """

    @functools.wraps(hook)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        running: set[str] = self.__dict__.setdefault("_hooks_running", set())
        if after in running:  # an inner override, called by `super()`
            return hook(self, *args, **kwargs)
        running.add(after)
        try:
            result = hook(self, *args, **kwargs)
        finally:
            running.discard(after)
        getattr(self, after)(*args, **kwargs)
        return result

    del wrapped.__wrapped__  # Lightning is to see that something is written here
    wrapped.is_followed = wrapped  # type: ignore[attr-defined]
    return wrapped
