"""Build a scheduler from its entry in the config or in Python: for Lightning, or one that steps with the optimizer.

An entry is a scheduler (a definition of the config, an instance, or a callable that takes the optimizer), or a dict:

    scheduler: {_target_: torch.optim.lr_scheduler.CosineAnnealingLR, T_max: 10}
    interval: epoch                            # this, `frequency`, `monitor`, `name`, `strict`: for Lightning
    warmup: {steps: 500, kind: linear}         # a warm-up beside it, or a scheduler instead of a warm-up
    manual: true                               # `scheduler` steps with the optimizer, not by Lightning
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lighter.config.deferred import Deferred, Definitions
from lighter.config.problems import nearest
from lighter.errors import ConfigError, ModuleValueError
from lighter.parts.describe import describe
from lighter.parts.optimization.lr_schedules import ManualSchedule
from lighter.parts.optimization.warmup import SchedulerBesideWarmup, Warmup, warmup_problems

_LIGHTNING_KEYS = ("interval", "frequency", "monitor", "strict", "name", "reduce_on_plateau")
KEYS = ("scheduler", "warmup", "manual", *_LIGHTNING_KEYS)
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


def build_scheduler(given: object, optimizer: Optimizer, number: int = 0) -> tuple[Any, list[ManualSchedule]]:
    """Build the scheduler for Lightning, or None, and the schedules that step with the optimizer.

    Checkpoints tell the schedules of several optimizers apart by `number`.

    Raises:
        ConfigError: a mistake in an entry of the config.
        ModuleValueError: a mistake in an entry that was given in Python.
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


def wrong(given: object, mistakes: Sequence[Mistake]) -> Exception:
    if isinstance(given, (Deferred, Definitions)):
        errors = [given.problem(message, key=key, hint=hint) for key, message, hint in mistakes]
        return ConfigError([problem for error in errors for problem in error.problems])
    return ModuleValueError(" ".join(f"{message}. {hint}".rstrip() for _, message, hint in mistakes))


def mistakes_in(written: Mapping[str, Any], unknown: object) -> list[Mistake]:
    """Return the mistakes in an entry of the config; `unknown` stands for values that are computed later."""
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
    mistakes = [
        (str(key), f"a scheduler's dict has no `{key}`", nearest(key, KEYS)) for key in entry if key not in KEYS
    ]
    if entry.get("scheduler") is None and entry.get("warmup") is None:
        return [("", f"a scheduler's dict has the key `scheduler`; found {list(entry)}", _EXAMPLE), *mistakes]
    manual = entry.get("manual", False)
    if not isinstance(manual, bool):
        return [*mistakes, ("manual", f"`manual` is true or false; found {manual!r}", "")]
    if not manual:
        return mistakes
    hint = "It steps after every step of the optimizer, or every `frequency` of them."
    mistakes += [
        (key, f"a manual scheduler has no `{key}`", hint)
        for key in entry
        if key in _LIGHTNING_KEYS and key not in _MANUAL_KEYS
    ]
    if entry.get("scheduler") is None:
        mistakes.append(("manual", "`manual` says how `scheduler` steps, and there is none", ""))
    return [*mistakes, *_mistakes_of_frequency(entry)]


def _mistakes_of_frequency(entry: Mapping[str, Any]) -> list[Mistake]:
    frequency = entry.get("frequency", 1)
    if isinstance(frequency, int) and not isinstance(frequency, bool) and frequency >= 1:
        return []
    return [("frequency", f"`frequency` is a whole number, 1 or more; found {frequency!r}", "")]


def _warmup(given: object, entry: object, optimizer: Optimizer, key: str) -> ManualSchedule:
    source = given if isinstance(given, (Deferred, Mapping)) else entry  # which knows its lines in the config
    if isinstance(given, Deferred) and not _is_definition(given):
        given = given.build()
    if isinstance(given, (bool, int, float, str)):
        raise wrong(source, [("", f"`warmup` is a dict; found {given!r}", _WARMUP_EXAMPLE)])
    settings: dict[str, Any] = _resolved(given) if isinstance(given, Mapping) else {"scheduler": given}
    if "scheduler" not in settings:
        mistakes = list(warmup_problems(settings))
        if mistakes:
            raise wrong(source, mistakes)
        return ManualSchedule(key, Warmup(optimizer, **settings), optimizer)
    allowed = ("scheduler", "frequency")
    mistakes = [(k, f"a scheduler in `warmup` has no `{k}`", nearest(k, allowed)) for k in settings if k not in allowed]
    mistakes += _mistakes_of_frequency(settings)
    if mistakes:
        raise wrong(source, mistakes)
    scheduler = _check_steps_alone(_scheduler_of(settings["scheduler"], optimizer), source)
    return ManualSchedule(key, scheduler, optimizer, settings.get("frequency", 1))


def _check_steps_alone(scheduler: object, given: object) -> Any:
    # nobody gives it the value that it watches
    if isinstance(scheduler, ReduceLROnPlateau):
        message = "ReduceLROnPlateau watches a value, so it cannot step after every step of the optimizer"
        raise wrong(given, [("", message, "Leave it to Lightning, with `monitor`.")])
    return scheduler


def _scheduler_of(given: object, optimizer: Optimizer, *, monitored: bool = True) -> Any:
    scheduler = _built(given, optimizer) if isinstance(given, Deferred) else given
    # a class of schedulers has `step` too, and is to be called
    is_function = isinstance(scheduler, type) or not (isinstance(scheduler, nn.Module) or hasattr(scheduler, "step"))
    if is_function and callable(scheduler):
        scheduler = scheduler(optimizer)
    if not hasattr(scheduler, "step"):
        raise wrong(given, [("", f"a scheduler has a method `step`; found {describe(scheduler)}", _EXAMPLE)])
    if isinstance(scheduler, ReduceLROnPlateau) and not monitored:
        raise wrong(given, [("", "ReduceLROnPlateau needs the name of the value to watch", _PLATEAU_EXAMPLE)])
    return scheduler


def _built(given: Deferred, optimizer: Optimizer) -> Any:
    # torch would only say that its scheduler takes no `interval`, and not where that belongs
    misplaced = [key for key in KEYS[1:] if _is_definition(given) and key in given.definition]
    if misplaced and not _takes(given.target, misplaced):
        raise wrong(given, [(key, f"`{key}` stands beside the scheduler, not in it", _BESIDE) for key in misplaced])
    definition = given.definition
    # a callable gets the optimizer when it is called
    if not isinstance(definition, Mapping) or definition.get("_mode_") == "callable":
        return given.build()
    return given.build(**({} if "optimizer" in definition or "_args_" in definition else {"optimizer": optimizer}))


def _takes(target: Callable[..., Any], keys: Sequence[str]) -> bool:
    # an extension class may not tell: then it gets them, and complains itself
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):
        return True
    anything = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return anything or set(keys) <= set(parameters)


def _is_definition(given: Deferred) -> bool:
    return isinstance(given.definition, Mapping) and "_target_" in given.definition


def _resolved(entry: Mapping[str, Any]) -> dict[str, Any]:
    # `scheduler` and `warmup` need the optimizer, and are built where they are used
    return {
        key: value.build() if isinstance(value, Deferred) and key not in ("scheduler", "warmup") else value
        for key, value in entry.items()
    }
