"""Optimizers and schedulers, built when Lightning asks for them, in the form that `configure_optimizers` returns.

What comes in is what a module was given: a definition of the config (anything with `build`, `argument`, `definition`
and `problem`; see `lighter.config.objects.Deferred`), an instance, a callable that takes the parameters (or, for a
scheduler, the optimizer), Lightning's dict around a scheduler, or a list of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from torch.nn import Parameter
from torch.optim import Optimizer

from lighter.errors import ModuleTypeError, ModuleValueError

Named = Sequence[tuple[str, Parameter]]
_NAME_ARGUMENTS = ("params", "_args_")


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
    trainable = [parameter for _, parameter in named if parameter.requires_grad]
    if isinstance(optimizer, Optimizer):
        return optimizer
    if _is_definition(optimizer):
        made = optimizer.build(**_parameters(optimizer, named, prefixes))
        made = made(trainable) if not isinstance(made, Optimizer) and callable(made) else made
    elif callable(optimizer):
        made = optimizer(trainable)
    else:
        made = optimizer
    if not isinstance(made, Optimizer):
        raise ModuleTypeError(
            f"an optimizer is a torch.optim.Optimizer; found a {type(made).__name__}. For example:\n"
            "  optimizer:\n    _target_: torch.optim.Adam\n    lr: 0.001"
        )
    return made


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
    if not isinstance(groups, list) or not any(isinstance(group, (Mapping, str)) for group in groups):
        return {"params": groups}

    def fail(message: str, index: int, hint: str) -> Exception:
        written = isinstance(definition["params"], list)
        error: Exception = optimizer.problem(message, key=f"params::{index}" if written else "params", hint=hint)
        return error

    return {"params": group_parameters(groups, named, prefixes, fail)}


def group_parameters(
    groups: Sequence[Any],
    named: Named,
    prefixes: Sequence[str] = (),
    fail: Callable[[str, int, str], Exception] = lambda message, index, hint: ModuleValueError(f"{message}. {hint}"),
) -> list[dict[str, Any]]:
    """Parameter groups by name as parameter groups of tensors.

    A name takes the parameters of the module of that name; where there is none, those whose name starts with it. The
    longest matching name wins, `None` takes what no group took. Each parameter that requires a gradient is in exactly
    one group, or in none where no group wants it.

    Args:
        groups: dicts with `params` (a name, a list of names, None, or tensors) and further options; or bare names.
        named: the parameters, with their names.
        prefixes: what names may leave out.
        fail: makes the error from a message, the group's index and a hint.
    """
    dicts = [dict(group) if isinstance(group, Mapping) else {"params": group} for group in groups]
    short = [(_without(name, prefixes), name, parameter) for name, parameter in named]
    wanted: list[tuple[int, str, set[int]]] = []
    taken: dict[int, int] = {}
    for index, group in enumerate(dicts):
        if "params" not in group:
            raise fail("a parameter group has `params`", index, "A name, a list of names, or null for the rest.")
        for name in _names(group["params"]):
            matched = _matching(name, short)
            if not matched:
                known = sorted({part for brief, _, _ in short for part in _ancestors(brief)})
                close = get_close_matches(name, known, n=1)
                tops = sorted({brief.split(".")[0] for brief, _, _ in short})
                hint = f"Did you mean `{close[0]}`?" if close else f"There is: {', '.join(tops)}."
                raise fail(f"no parameter's name starts with `{name}`", index, hint)
            wanted.append((index, name, matched))
        if not _names(group["params"]) and group["params"] is not None:
            group["params"] = _tensors(group["params"])
            for parameter in group["params"]:
                taken[id(parameter)] = index
    for index, _, matched in sorted(wanted, key=lambda want: len(want[1])):
        taken |= dict.fromkeys(matched, index)
    for index, group in enumerate(dicts):
        if group["params"] is None:
            taken |= {id(parameter): index for _, parameter in named if id(parameter) not in taken}
        if group["params"] is None or _names(group["params"]):
            mine = [p for _, p in named if taken.get(id(p)) == index and p.requires_grad]
            if not mine:
                raise fail("this parameter group is empty", index, "All its parameters are frozen or in other groups.")
            group["params"] = mine
    return dicts


def _names(params: Any) -> list[str]:
    if isinstance(params, str):
        return [params]
    if isinstance(params, (list, tuple)) and params and all(isinstance(item, str) for item in params):
        return list(params)
    return []


def _tensors(params: Any) -> list[Any]:
    return list(params) if isinstance(params, Iterable) and not hasattr(params, "requires_grad") else [params]


def _without(name: str, prefixes: Sequence[str]) -> str:
    return next((name.removeprefix(prefix) for prefix in prefixes if name.startswith(prefix)), name)


def _ancestors(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _matching(name: str, short: Sequence[tuple[str, str, Parameter]]) -> set[int]:
    """The parameters of the module with this name; where there is none, those whose name starts with it."""
    inside = {id(p) for brief, full, p in short if any(n == name or n.startswith(f"{name}.") for n in (brief, full))}
    return inside or {id(p) for brief, full, p in short if brief.startswith(name) or full.startswith(name)}


def _build_scheduler(scheduler: Any, optimizer: Optimizer) -> Any:
    if isinstance(scheduler, Mapping):
        if "scheduler" not in scheduler:
            raise ModuleValueError(
                f"a scheduler's dict has the key `scheduler`; found {list(scheduler)}. For example:\n"
                "  scheduler:\n    scheduler: {_target_: torch.optim.lr_scheduler.StepLR, step_size: 10}\n    interval: epoch"
            )
        return {**scheduler, "scheduler": _build_scheduler(scheduler["scheduler"], optimizer)}
    if _is_definition(scheduler):
        definition = scheduler.definition
        given = isinstance(definition, Mapping) and ("optimizer" in definition or "_args_" in definition)
        made = scheduler.build(**({} if given else {"optimizer": optimizer}))
        return made if hasattr(made, "step") or not callable(made) else made(optimizer)
    if not hasattr(scheduler, "step") and callable(scheduler):
        return scheduler(optimizer)
    return scheduler


def _is_definition(value: Any) -> bool:
    return hasattr(value, "build") and hasattr(value, "definition")
