"""Optimizers and schedulers, built when Lightning asks for them, in the form that `configure_optimizers` returns.

What comes in is what a module was given: a definition of the config (`Deferred`), an instance, a callable that takes
the parameters (or, for a scheduler, the optimizer), Lightning's dict around a scheduler, or a list of these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lighter.config.objects import Deferred
from lighter.errors import ModuleTypeError, ModuleValueError
from lighter.parts.parameter_groups import Named, group_parameters, is_by_name

OPTIMIZER_EXAMPLE = "For example:\n  optimizer:\n    _target_: torch.optim.Adam\n    lr: 0.001"


_PLATEAU_EXAMPLE = """For example:
  scheduler:
    scheduler: {_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, patience: 3}
    monitor: val/loss/epoch"""


def build_optimizers(optimizer: Any, scheduler: Any, named: Named, prefixes: Sequence[str] = ()) -> Any:
    """What `configure_optimizers` returns: a dict, or a list of dicts where several optimizers were given.

    Args:
        optimizer: one optimizer or a list of them, in any of this module's forms.
        scheduler: the scheduler of the optimizer, or a list of one (or None) for each.
        named: the parameters to optimize, with their names.
        prefixes: what names in parameter groups may leave out: `network.`, say.
    """
    several = isinstance(optimizer, (list, tuple))
    optimizers = list(optimizer) if several else [optimizer]
    schedulers = list(scheduler) if isinstance(scheduler, (list, tuple)) else [scheduler]
    if len(schedulers) > len(optimizers):
        raise ModuleValueError(
            f"there are {len(schedulers)} schedulers for {len(optimizers)} optimizers; give one each, or null"
        )
    schedulers += [None] * (len(optimizers) - len(schedulers))
    built = [_build_optimizer(item, named, prefixes) for item in optimizers]
    configured = [
        {"optimizer": made, **({"lr_scheduler": _build_scheduler(item, made)} if item is not None else {})}
        for made, item in zip(built, schedulers, strict=True)
    ]
    return configured if several else configured[0]


def _build_optimizer(optimizer: Any, named: Named, prefixes: Sequence[str]) -> Optimizer:
    made = optimizer.build(**_parameters(optimizer, named, prefixes)) if isinstance(optimizer, Deferred) else optimizer
    if not isinstance(made, (Optimizer, nn.Module)) and callable(made):
        made = made([parameter for _, parameter in named if parameter.requires_grad])
    if isinstance(made, Optimizer):
        return made
    message = f"an optimizer is a torch.optim.Optimizer; found a {type(made).__name__}"
    if isinstance(optimizer, Deferred):
        raise optimizer.problem(message, hint=OPTIMIZER_EXAMPLE)
    raise ModuleTypeError(f"{message}. {OPTIMIZER_EXAMPLE}")


def _parameters(optimizer: Any, named: Named, prefixes: Sequence[str]) -> dict[str, Any]:
    """The `params` to put into a definition; nothing where it already says which, in a form that torch takes."""
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

    def fail(message: str, index: int, hint: str) -> Exception:
        written = isinstance(definition["params"], list)
        error: Exception = optimizer.problem(message, key=f"params::{index}" if written else "params", hint=hint)
        return error

    return {"params": group_parameters(groups, named, prefixes, fail)}


def _build_scheduler(scheduler: Any, optimizer: Optimizer, *, monitored: bool = False) -> Any:
    if isinstance(scheduler, Mapping):
        if "scheduler" not in scheduler:
            raise ModuleValueError(
                f"a scheduler's dict has the key `scheduler`; found {list(scheduler)}. For example:\n"
                "  scheduler:\n    scheduler: {_target_: torch.optim.lr_scheduler.StepLR, step_size: 10}\n"
                "    interval: epoch"
            )
        monitored = "monitor" in scheduler
        return {**scheduler, "scheduler": _build_scheduler(scheduler["scheduler"], optimizer, monitored=monitored)}
    if isinstance(scheduler, Deferred):
        scheduler = scheduler.build(**_optimizer_for(scheduler.definition, optimizer))
    if not hasattr(scheduler, "step") and callable(scheduler):
        scheduler = scheduler(optimizer)
    if isinstance(scheduler, ReduceLROnPlateau) and not monitored:
        raise ModuleValueError(f"ReduceLROnPlateau needs the name of the value to watch. {_PLATEAU_EXAMPLE}")
    return scheduler


def _optimizer_for(definition: Any, optimizer: Optimizer) -> dict[str, Any]:
    """The `optimizer` to put into a scheduler's definition; nothing where it has one, or will be called with it."""
    if not isinstance(definition, Mapping) or definition.get("_mode_") == "callable":
        return {}
    return {} if "optimizer" in definition or "_args_" in definition else {"optimizer": optimizer}
