"""Hooks that somebody overrides, found once and called as Lightning calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.model_helpers import is_overridden

from lighter._lightning.modules import CURRENT_HOOK

if TYPE_CHECKING:
    from lighter.trainer import Trainer

UNKNOWN: Any = object()
BATCH_TRANSFERS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class Hook:
    """A hook that somebody overrides: callbacks in their order, then the module.

    With `saves_last`, callbacks that save checkpoints come after the module.
    """

    __slots__ = ("_attributes", "_module", "_name", "_of_callbacks", "_of_module", "_saves_last", "_trainer")

    def __init__(self, trainer: pl.Trainer, name: str, of_module: Callable | None, *, saves_last: bool) -> None:
        self._trainer: Any = trainer
        self._module, self._attributes, self._name = trainer.lightning_module, vars(trainer.lightning_module), name
        self._of_module, self._saves_last = of_module, saves_last
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        self._of_callbacks = {id(callback): _override_in(callback, name) for callback in callbacks}

    def __call__(self, *args: Any) -> Any:
        """Call them all. Returns what the module's method returned."""
        attributes = self._attributes
        # `self.log` names the values by the hook that runs
        outer_hook, attributes[CURRENT_HOOK] = attributes[CURRENT_HOOK], self._name
        # A fit that resumes from a checkpoint does not repeat what came after the save, and modules keep averages of
        # their weights in such hooks.
        savers = []
        for callback in self._trainer.callbacks:  # as it is now: one of them may bring another, or leave
            function = self._of_callbacks.get(id(callback), UNKNOWN)
            if function is UNKNOWN:
                function = _override_in(callback, self._name)
            if function is None:
                continue
            if self._saves_last and isinstance(callback, Checkpoint):
                savers.append(function)
            else:
                function(self._trainer, self._module, *args)
        result = self._of_module(*args) if self._of_module is not None else None
        for function in savers:
            function(self._trainer, self._module, *args)
        attributes[CURRENT_HOOK] = outer_hook
        return result


def find_hook(trainer: pl.Trainer, name: str, *, saves_last: bool = False) -> Hook | None:
    """Return a hook of callbacks and module, or None if nobody overrides it; `saves_last` as for `Hook`."""
    of_module = None
    if _overrides(trainer.lightning_module, name, LightningModule):
        of_module = getattr(trainer.lightning_module, name)
    of_module = of_module if callable(of_module) else None
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if of_module is None and all(_override_in(callback, name) is None for callback in callbacks):
        return None
    return Hook(trainer, name, of_module, saves_last=saves_last)


@contextmanager
def savers_last(trainer: Trainer, name: str) -> Iterator[None]:
    """While Lightning's own loop calls a hook: callbacks that save checkpoints come after the module, as for `Hook`."""
    module = trainer.lightning_module
    savers = [one for one in trainer.callbacks if isinstance(one, Checkpoint) and _override_in(one, name) is not None]
    if not (trainer.exact_resume and savers and _overrides(module, name, LightningModule)):
        yield
        return
    of_module, of_savers = getattr(module, name), [(one.state_key, getattr(one, name)) for one in savers]

    def call_all(*args: Any) -> Any:
        result = of_module(*args)
        for key, function in of_savers:
            with trainer.profiler.profile(f"[Callback]{key}.{name}"):
                function(trainer, module, *args)
        return result

    # Lightning calls whatever has the hook's name, and offers no place after the module's. So for that time the
    # module's method is one that calls the savers' too, and theirs are hidden.
    before = [(vars(one), vars(one).get(name)) for one in (module, *savers)]
    for attributes, _ in before:
        # Lightning leaves out what is no function
        attributes[name] = call_all if attributes is vars(module) else None
    try:
        yield
    finally:
        for attributes, function in before:
            attributes.pop(name)
            if function is not None:
                attributes[name] = function


def _override_in(callback: Callback, name: str) -> Callable | None:
    """Return a callback's method for a hook, or None where it is the base class's, which does nothing."""
    function = getattr(callback, name)
    return function if callable(function) and _overrides(callback, name, Callback) else None


def module_overrides(trainer: pl.Trainer, *names: str) -> bool:
    """Return whether the module overrides any of these methods of Lightning's."""
    return any(_overrides(trainer.lightning_module, name, LightningModule) for name in names)


def moves_batches_itself(trainer: pl.Trainer) -> bool:
    """Return whether module or data module define how a batch gets to its device."""
    module, data = trainer.lightning_module, trainer.datamodule  # type: ignore[attr-defined]
    of_data = data is not None and any(is_overridden(name, data) for name in BATCH_TRANSFERS)
    return of_data or any(is_overridden(name, module) or _wraps(module, name) for name in BATCH_TRANSFERS)


def _wraps(module: LightningModule, name: str) -> bool:
    """Return whether a hook wraps Lightning's own by `functools.wraps`."""
    # Lightning calls such a hook, but `is_overridden` looks through the wrapper, and sees none
    classes = takewhile(lambda one: one is not LightningModule, type(module).__mro__)
    return name in vars(module) or any(name in vars(one) for one in classes if one.__module__ != "lighter.base")


def _overrides(owner: object, name: str, base: type) -> bool:
    """Return whether a hook is not the base class's."""
    # by identity, so those of Lightning's other package (`lightning`) count as overridden
    return getattr(getattr(owner, name), "__func__", None) is not getattr(base, name)
