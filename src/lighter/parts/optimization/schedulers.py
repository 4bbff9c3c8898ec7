"""A scheduler's entry in the config, or in Python, to what Lightning steps and what steps with the optimizer.

An entry is a scheduler (a definition of the config, an instance, or a callable that takes the optimizer), or a dict:

    scheduler: {_target_: torch.optim.lr_scheduler.CosineAnnealingLR, T_max: 10}
    interval: epoch                            # this, `frequency`, `monitor`, `name`, `strict`: for Lightning
    warmup: {steps: 500, kind: linear}         # a warm-up beside it, or a scheduler for this place
    manual: true                               # `scheduler` steps with the optimizer, not by Lightning
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lighter.config.objects import Deferred, Definitions
from lighter.config.problems import nearest
from lighter.errors import ConfigError, ModuleValueError
from lighter.parts.describe import describe
from lighter.parts.optimization.lr_schedules import ManualSchedule
from lighter.parts.optimization.warmup import SchedulerBesideWarmup, Warmup, warmup_problems

_LIGHTNING_KEYS = ("interval", "frequency", "monitor", "strict", "name", "reduce_on_plateau")
_KEYS = ("scheduler", "warmup", "manual", *_LIGHTNING_KEYS)
_CHECKED = ("manual", "frequency")  # whose values have to be right
_MANUAL_KEYS = ("scheduler", "warmup", "manual", "frequency")
_PLATEAU_EXAMPLE = """For example:
  scheduler:
    scheduler: {_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, patience: 3}
    monitor: val/loss/epoch"""
_EXAMPLE = """For example:
  scheduler:
    scheduler: {_target_: torch.optim.lr_scheduler.StepLR, step_size: 10}
    interval: epoch"""
_WARMUP_EXAMPLE = """For example:
  scheduler:
    scheduler: {_target_: torch.optim.lr_scheduler.CosineAnnealingLR, T_max: 10}
    warmup: {steps: 500, kind: linear, start_factor: 0.01}"""
_BESIDE = """Write
  scheduler:
    scheduler: {_target_: torch.optim.lr_scheduler.CosineAnnealingLR, T_max: 10}
    interval: epoch
    warmup: {steps: 500}"""

Mistake = tuple[str, str, str]  # the key that it is about, or none; the message; a hint


def build_scheduler(given: Any, optimizer: Optimizer, number: int = 0) -> tuple[Any, list[ManualSchedule]]:
    """What Lightning gets for an entry, or None, and the schedules that step with the optimizer.

    Args:
        given: the entry.
        optimizer: the optimizer that it is of.
        number: which of several optimizers that is; checkpoints tell the schedules apart by it.

    Raises:
        ConfigError: the entry is wrong, and stands in the config.
        ModuleValueError: the entry is wrong, and was given in Python.
    """
    if not isinstance(given, Mapping):
        return _scheduler_of(given, optimizer, monitored=False), []
    entry = _resolved(given)
    mistakes = list(_mistakes(entry))
    if mistakes:
        raise wrong(given, mistakes)
    manual: list[ManualSchedule] = []
    scheduler = None
    if entry.get("scheduler") is not None:
        watches = entry.get("manual") or entry.get("monitor") is not None
        scheduler = _scheduler_of(entry["scheduler"], optimizer, monitored=watches)
    if entry.get("manual"):
        _check_steps_alone(scheduler, given)
        manual = [ManualSchedule(f"{number}/scheduler", scheduler, optimizer, entry.get("frequency", 1))]
    if entry.get("warmup") is not None:
        warmup = _warmup(entry["warmup"], given, optimizer, f"{number}/warmup")
        if scheduler is not None and isinstance(warmup.scheduler, Warmup):
            scheduler = SchedulerBesideWarmup(scheduler, warmup.scheduler)
            for schedule in manual:
                schedule.scheduler = scheduler
        manual.append(warmup)
    if scheduler is None or entry.get("manual"):
        return None, manual
    return {**{key: entry[key] for key in _LIGHTNING_KEYS if key in entry}, "scheduler": scheduler}, manual


def wrong(given: Any, mistakes: Sequence[Mistake]) -> Exception:
    """The error for mistakes in something that was given: with their places, if it stands in the config."""
    if isinstance(given, (Deferred, Definitions)):
        errors = [given.problem(message, key=key, hint=hint) for key, message, hint in mistakes]
        return ConfigError([problem for error in errors for problem in error.problems])
    return ModuleValueError(" ".join(f"{message}. {hint}".rstrip() for _, message, hint in mistakes))


def mistakes_in(written: Mapping[str, Any], unknown: Any) -> list[Mistake]:
    """What is wrong with an entry as it stands in the config, as far as that can be told before anything is built.

    Args:
        written: the entry's values.
        unknown: stands for values that are worked out later.
    """
    mistakes = _mistakes({key: value for key, value in written.items() if value is not unknown or key not in _CHECKED})
    warmup = written.get("warmup")
    if isinstance(warmup, Mapping) and "scheduler" not in warmup:
        known = {key: value for key, value in warmup.items() if value is not unknown or key == "steps"}
        mistakes += [
            (f"warmup::{key}" if key else "warmup", message, hint)
            for key, message, hint in warmup_problems(known)
            if known.get(key) is not unknown
        ]
    return mistakes


def _mistakes(entry: Mapping[str, Any]) -> list[Mistake]:
    found = [(str(key), f"a scheduler's dict has no `{key}`", nearest(key, _KEYS)) for key in entry if key not in _KEYS]
    if entry.get("scheduler") is None and entry.get("warmup") is None:
        return [("", f"a scheduler's dict has the key `scheduler`; found {list(entry)}", _EXAMPLE), *found]
    manual = entry.get("manual", False)
    if not isinstance(manual, bool):
        return [*found, ("manual", f"`manual` is true or false; found {manual!r}", "")]
    if not manual:
        return found
    hint = "It steps after every step of the optimizer, or every `frequency` of them."
    found += [
        (key, f"a manual scheduler has no `{key}`", hint)
        for key in entry
        if key in _LIGHTNING_KEYS and key not in _MANUAL_KEYS
    ]
    if entry.get("scheduler") is None:
        found.append(("manual", "`manual` says how `scheduler` steps, and there is none", ""))
    return [*found, *_mistakes_of_frequency(entry)]


def _mistakes_of_frequency(entry: Mapping[str, Any]) -> list[Mistake]:
    frequency = entry.get("frequency", 1)
    if isinstance(frequency, int) and not isinstance(frequency, bool) and frequency >= 1:
        return []
    return [("frequency", f"`frequency` is a whole number, 1 or more; found {frequency!r}", "")]


def _warmup(given: Any, around: Any, optimizer: Optimizer, key: str) -> ManualSchedule:
    """The schedule in the place `warmup`: settings, a scheduler, or a dict with `scheduler` and `frequency`."""
    if isinstance(given, Deferred) and not _is_definition(given):
        return _warmup_in(given.build(), given, optimizer, key)
    return _warmup_in(given, given if isinstance(given, (Deferred, Mapping)) else around, optimizer, key)


def _warmup_in(given: Any, place: Any, optimizer: Optimizer, key: str) -> ManualSchedule:
    if isinstance(given, (bool, int, float, str)):
        raise wrong(place, [("", f"`warmup` is a dict; found {given!r}", _WARMUP_EXAMPLE)])
    if not isinstance(given, Mapping):
        return ManualSchedule(key, _check_steps_alone(_scheduler_of(given, optimizer), place), optimizer)
    settings = _resolved(given)
    if "scheduler" not in settings:
        mistakes = list(warmup_problems(settings))
        if mistakes:
            raise wrong(place, mistakes)
        return ManualSchedule(key, Warmup(optimizer, **settings), optimizer)
    allowed = ("scheduler", "frequency")
    mistakes = [(k, f"a scheduler in `warmup` has no `{k}`", nearest(k, allowed)) for k in settings if k not in allowed]
    mistakes += _mistakes_of_frequency(settings)
    if mistakes:
        raise wrong(place, mistakes)
    scheduler = _check_steps_alone(_scheduler_of(settings["scheduler"], optimizer), place)
    return ManualSchedule(key, scheduler, optimizer, settings.get("frequency", 1))


def _check_steps_alone(scheduler: Any, given: Any) -> Any:
    """A scheduler, if it can step without a value that it watches."""
    if isinstance(scheduler, ReduceLROnPlateau):
        message = "ReduceLROnPlateau watches a value, so it cannot step after every step of the optimizer"
        raise wrong(given, [("", message, "Leave it to Lightning, with `monitor`.")])
    return scheduler


def _scheduler_of(given: Any, optimizer: Optimizer, *, monitored: bool = True) -> Any:
    made = _built(given, optimizer) if isinstance(given, Deferred) else given
    is_function = isinstance(made, type) or not (isinstance(made, nn.Module) or hasattr(made, "step"))
    if is_function and callable(made):
        made = made(optimizer)
    if not hasattr(made, "step"):
        raise wrong(given, [("", f"a scheduler has a method `step`; found {describe(made)}", _EXAMPLE)])
    if isinstance(made, ReduceLROnPlateau) and not monitored:
        raise wrong(given, [("", "ReduceLROnPlateau needs the name of the value to watch", _PLATEAU_EXAMPLE)])
    return made


def _built(given: Deferred, optimizer: Optimizer) -> Any:
    keys = ("warmup", "manual", *_LIGHTNING_KEYS)
    misplaced = [key for key in keys if _is_definition(given) and key in given.definition]
    if misplaced and not _takes(given.target, misplaced):
        raise wrong(given, [(key, f"`{key}` stands beside the scheduler, not in it", _BESIDE) for key in misplaced])
    return given.build(**_optimizer_for(given.definition, optimizer))


def _takes(target: Any, keys: Sequence[str]) -> bool:
    """Whether a class or function may have parameters of these names."""
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return True
    anything = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return anything or set(keys) <= set(parameters)


def _optimizer_for(definition: Any, optimizer: Optimizer) -> dict[str, Any]:
    """The `optimizer` to put into a scheduler's definition; nothing where it has one, or will be called with it."""
    if not isinstance(definition, Mapping) or definition.get("_mode_") == "callable":
        return {}
    return {} if "optimizer" in definition or "_args_" in definition else {"optimizer": optimizer}


def _is_definition(given: Deferred) -> bool:
    """Whether it defines an object, and is no reference to settings."""
    return isinstance(given.definition, Mapping) and "_target_" in given.definition


def _resolved(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry whose settings are values; `scheduler` and `warmup` are built where they are used."""
    return {
        key: value.build() if isinstance(value, Deferred) and key not in ("scheduler", "warmup") else value
        for key, value in entry.items()
    }
