"""Hooks that somebody overrides, found once and called as Lightning calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.model_helpers import is_overridden

_UNKNOWN: Any = object()
BATCH_TRANSFERS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class Hook:
    """A hook that somebody overrides: callbacks in their order, then the module.

    Args:
        saves_last: whether callbacks that save checkpoints come after the module. What comes after a saving is not
            done again by a fit that goes on from there, and modules keep averages of their weights in such hooks.
    """

    __slots__ = ("_found", "_module", "_name", "_of_module", "_saves_last", "_trainer")

    def __init__(self, trainer: Any, name: str, of_module: Callable | None, *, saves_last: bool) -> None:
        self._trainer, self._module, self._name = trainer, trainer.lightning_module, name
        self._of_module, self._saves_last = of_module, saves_last
        self._found = {id(callback): _overriding(callback, name) for callback in trainer.callbacks}

    def __call__(self, *args: Any) -> Any:
        """Call them all. Returns what the module's own returned."""
        state = vars(self._module)  # `_current_fx_name`: by it `self.log` knows where it is called from
        before, state["_current_fx_name"] = state["_current_fx_name"], self._name
        late = []
        for callback in self._trainer.callbacks:  # as it is now: one of them may bring another, or leave
            function = self._found.get(id(callback), _UNKNOWN)
            if function is _UNKNOWN:
                function = _overriding(callback, self._name)
            if function is None:
                continue
            if self._saves_last and isinstance(callback, Checkpoint):
                late.append(function)
            else:
                function(self._trainer, self._module, *args)
        result = self._of_module(*args) if self._of_module is not None else None
        for function in late:
            function(self._trainer, self._module, *args)
        state["_current_fx_name"] = before
        return result


def find_hook(trainer: Any, name: str, *, saves_last: bool = False) -> Hook | None:
    """A hook of callbacks and module, or None if nobody overrides it; `saves_last` as for `Hook`."""
    of_module = None
    if _overrides(trainer.lightning_module, name, pl.LightningModule):
        of_module = getattr(trainer.lightning_module, name)
    of_module = of_module if callable(of_module) else None
    if of_module is None and all(_overriding(callback, name) is None for callback in trainer.callbacks):
        return None
    return Hook(trainer, name, of_module, saves_last=saves_last)


@contextmanager
def savers_last(trainer: Any, name: str) -> Iterator[None]:
    """While Lightning's own loop calls a hook: callbacks that save checkpoints come after the module, as for `Hook`.

    Lightning finds hooks by their names, so for that time the module's own is one that calls those of the callbacks.
    """
    module = trainer.lightning_module
    savers = [one for one in trainer.callbacks if isinstance(one, Checkpoint) and _overriding(one, name) is not None]
    if not (trainer.exact_resume and savers and _overrides(module, name, pl.LightningModule)):
        yield
        return
    of_module, of_savers = getattr(module, name), [(one.state_key, getattr(one, name)) for one in savers]

    def call_all(*args: Any) -> Any:
        result = of_module(*args)
        for key, function in of_savers:
            with trainer.profiler.profile(f"[Callback]{key}.{name}"):
                function(trainer, module, *args)
        return result

    before = [(vars(one), vars(one).get(name)) for one in (module, *savers)]
    for attributes, _ in before:
        attributes[name] = call_all if attributes is vars(module) else None  # Lightning leaves out what is no function
    try:
        yield
    finally:
        for attributes, own in before:
            attributes.pop(name)
            if own is not None:
                attributes[name] = own


def _overriding(callback: Any, name: str) -> Callable | None:
    """What a callback has in the place of a hook that does nothing."""
    function = getattr(callback, name)
    return function if callable(function) and _overrides(callback, name, pl.Callback) else None


def module_overrides(trainer: Any, *names: str) -> bool:
    """Whether the module overrides any of these methods of Lightning's."""
    return any(_overrides(trainer.lightning_module, name, pl.LightningModule) for name in names)


def moves_batches_itself(trainer: Any) -> bool:
    """Whether module or data module say how a batch gets to its device."""
    module, data = trainer.lightning_module, trainer.datamodule
    of_data = data is not None and any(is_overridden(name, data) for name in BATCH_TRANSFERS)
    return of_data or any(is_overridden(name, module) or _wraps(module, name) for name in BATCH_TRANSFERS)


def _wraps(module: Any, name: str) -> bool:
    """Return whether a hook wraps Lightning's own by `functools.wraps`: Lightning calls it, but sees no override."""
    classes = takewhile(lambda one: one is not pl.LightningModule, type(module).__mro__)
    return name in vars(module) or any(name in vars(one) for one in classes if one.__module__ != "lighter.base")


def _overrides(owner: Any, name: str, base: type) -> bool:
    """Whether a hook is not the base class's own; the hooks of Lightning's other package count as overridden."""
    return getattr(getattr(owner, name), "__func__", None) is not getattr(base, name)
