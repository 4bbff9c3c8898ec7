"""Optimizers and schedulers, built when Lightning asks for them, in the form that `configure_optimizers` returns.

Each is given as a definition of the config (`Deferred`), an instance, a callable that takes the parameters (or, for a
scheduler, the optimizer), Lightning's dict around a scheduler, or a list of these.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pytorch_lightning import Trainer
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lighter.config.deferred import Deferred, Definitions
from lighter.errors import ModuleTypeError, ModuleValueError, NotBuiltError
from lighter.parts.optimization.lr_schedules import ManualSchedule
from lighter.parts.optimization.parameter_groups import check_placed, group_parameters, is_by_name
from lighter.parts.optimization.parameter_types import Named
from lighter.parts.optimization.schedulers import build_scheduler

_STEPS = "@trainer.estimated_stepping_batches"
OPTIMIZER_EXAMPLE = "For example:\n  optimizer:\n    _target_: torch.optim.Adam\n    lr: 0.001"


def build_optimizers(
    optimizer: Any, scheduler: Any, named: Named, prefixes: Sequence[str] = ()
) -> tuple[Any, list[ManualSchedule]]:
    """Build optimizers and schedulers: the value that `configure_optimizers` returns, and the manual schedules.

    The first is a dict, or a list of dicts if several optimizers were given. A list of schedulers has one, or None,
    for each optimizer. Names in parameter groups may leave out the prefixes.

    Raises:
        ConfigError: a mistake in the config.
        ModuleError: a mistake in an object that was given in Python.
    """
    several = isinstance(optimizer, (list, tuple))
    given = list(optimizer) if several else [optimizer]
    # one without a list belongs to the first optimizer
    schedulers = list(scheduler) if isinstance(scheduler, (list, tuple)) else [scheduler]
    if len(schedulers) > len(given):
        raise ModuleValueError(
            f"there are {len(schedulers)} schedulers for {len(given)} optimizers; give one each, or null"
        )
    schedulers += [None] * (len(given) - len(schedulers))
    # all optimizers first: a parameter may be in one of them only
    optimizers = [_build_optimizer(item, named, prefixes) for item in given]
    placed = [parameter for built in optimizers for group in built.param_groups for parameter in group["params"]]
    check_placed(placed, named, prefixes, functools.partial(_about_parameters, given))
    configured, manual = [], []
    for number, (built, item) in enumerate(zip(optimizers, schedulers, strict=True)):
        for_lightning, schedules = build_scheduler(item, built, number) if item is not None else (None, [])
        configured.append({"optimizer": built, **({} if for_lightning is None else {"lr_scheduler": for_lightning})})
        manual += schedules
    return configured if several else configured[0], manual


class ModuleOptimizers:
    """The `optimizer` and `scheduler` of a module: definitions at first, and objects once they are configured."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}  # by name, those that were not given ready-made
        self.built: dict[str, Any] = {}
        self.is_configuring = False  # while `configure_optimizers` runs, the user's own or Lighter's
        self._configured: tuple[Any, list[ManualSchedule]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # the objects were built for the original's parameters, which are not the copy's
        return {"definitions": dict(self.definitions)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        self.definitions = state["definitions"]

    @contextmanager
    def configuring(self) -> Iterator[None]:
        # overrides call each other by `super()`: the outermost one begins anew
        if self.is_configuring:
            yield
            return
        # a second fit gets new optimizers: those of the first hold its momentum
        self.built, self._configured, self.is_configuring = {}, None, True
        try:
            yield
        finally:
            self.is_configuring = False

    def takes(self, name: str, value: object) -> bool:
        """Keep a definition in place of an earlier one; return false for a ready-made object."""
        self.definitions.pop(name, None)
        self.built.pop(name, None)
        items = value if isinstance(value, (list, tuple)) else [value]
        if all(item is None or isinstance(item, (Optimizer, LRScheduler)) for item in items):
            return False
        self.definitions[name] = value
        return True

    def provide(self, path: str, value: object) -> None:
        """Let definitions that refer to a path of the config get an object that exists."""
        for definition in self._of_config():
            definition.provide(path, value)

    def _of_config(self) -> Iterator[Deferred | Definitions]:
        for given in self.definitions.values():
            for item in given if isinstance(given, (list, tuple)) else [given]:
                if isinstance(item, (Deferred, Definitions)):
                    yield item

    def check_steps(self, trainer: Trainer) -> None:
        # Lightning's answer for data without a length is `max_steps`, which may be -1: a schedule of -1 steps
        for definition in self._of_config():
            for path, text in definition.expressions():
                if _STEPS in text and trainer.estimated_stepping_batches in (-1, math.inf):
                    message = "the number of optimizer steps is not known: the training data has no length"
                    hint = "Give `trainer::max_steps`, or `trainer::limit_train_batches` as a number of batches."
                    raise definition.problem(message, key=path, hint=hint)

    def not_built(self, name: str) -> NotBuiltError:
        return NotBuiltError(
            f"`self.{name}` is built when the trainer calls `configure_optimizers`, after the network is set up; until"
            " then there is only its definition. Use it in `configure_optimizers`, or in a hook that comes later."
        )

    def build_optimizer(self, ready: Mapping[str, Any], named: Named, prefixes: Sequence[str]) -> None:
        # without the scheduler: a user's `configure_optimizers` may need no more
        if "optimizer" not in self.built:
            given = self.definitions.get("optimizer", ready.get("optimizer"))
            configured, _ = build_optimizers(given, None, named, prefixes)
            several = isinstance(configured, list)
            self.built["optimizer"] = [each["optimizer"] for each in configured] if several else configured["optimizer"]

    def configured(self, ready: Mapping[str, Any], named: Named, prefixes: Sequence[str]) -> Any:
        """Build what is not built yet, and return what `build_optimizers` does; `ready` has those given built."""
        self.build_optimizer(ready, named, prefixes)
        if self._configured is None:
            given = self.definitions.get("scheduler", ready.get("scheduler"))
            self._configured = configured, manual = build_optimizers(self.built["optimizer"], given, named, prefixes)
            # of several schedules of an optimizer, the scheduler is what the user means, not its warm-up
            by_key = {schedule.key: schedule.scheduler for schedule in reversed(manual)}
            schedulers = []
            for number, entry in enumerate(configured if isinstance(configured, list) else [configured]):
                stepped = entry.get("lr_scheduler")
                stepped = stepped["scheduler"] if isinstance(stepped, Mapping) else stepped
                schedulers.append(stepped or by_key.get(f"{number}/scheduler") or by_key.get(f"{number}/warmup"))
            self.built["scheduler"] = schedulers if isinstance(configured, list) else schedulers[0]
        return self._configured


def configuring(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a `configure_optimizers`, in which `self.optimizer` and `self.scheduler` are built when asked for."""

    @functools.wraps(method)
    def configure(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._module_optimizers.configuring():
            return method(self, *args, **kwargs)

    configure.builds_on_use = True  # type: ignore[attr-defined]
    return configure


def _build_optimizer(optimizer: object, named: Named, prefixes: Sequence[str]) -> Optimizer:
    built = optimizer.build(**_parameters(optimizer, named, prefixes)) if isinstance(optimizer, Deferred) else optimizer
    # an nn.Module can be called too, but no network is a factory of optimizers
    if not isinstance(built, (Optimizer, nn.Module)) and callable(built):
        built = built([parameter for _, parameter in named if parameter.requires_grad])
    if isinstance(built, Optimizer):
        return built
    kind = "dict" if isinstance(built, Mapping) else type(built).__name__
    message = f"an optimizer is a torch.optim.Optimizer; found a {kind}"
    if isinstance(optimizer, (Deferred, Definitions)):
        raise optimizer.problem(message, hint=OPTIMIZER_EXAMPLE)
    raise ModuleTypeError(f"{message}. {OPTIMIZER_EXAMPLE}")


def _about_parameters(optimizers: Sequence[Any], message: str, hint: str) -> Exception:
    # at the first optimizer that stands in the config, as the parameter is in none or in two
    for optimizer in optimizers:
        if isinstance(optimizer, Deferred):
            written = isinstance(optimizer.definition, Mapping) and "params" in optimizer.definition
            return optimizer.problem(message, key="params" if written else "", hint=hint)
    return ModuleValueError(f"{message}. {hint}")


def _parameters(optimizer: Deferred, named: Named, prefixes: Sequence[str]) -> dict[str, Any]:
    definition = optimizer.definition
    if not isinstance(definition, Mapping) or "_args_" in definition or definition.get("_mode_") == "callable":
        return {}
    if definition.get("params") is None:
        return {"params": [parameter for _, parameter in named if parameter.requires_grad]}
    groups = optimizer.argument("params")
    if isinstance(groups, (str, Mapping)):
        groups = [groups]
    if not is_by_name(groups):
        return {"params": groups}

    def fail(message: str, index: int, hint: str, written: str = "") -> Exception:
        given = definition["params"]
        key = f"params::{index}" if isinstance(given, list) else "params"
        group = given[index] if isinstance(given, list) else given
        if written and isinstance(group, Mapping) and "params" in group:  # and not a learning rate of 1, say
            key = f"{key}::params"
        error: Exception = optimizer.problem(message, key=key, hint=hint, written=written)
        return error

    # names and patterns are resolved here; torch itself takes only tensors
    return {"params": group_parameters(groups, named, prefixes, fail)}
