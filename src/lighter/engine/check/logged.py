"""Names that a module of Lighter's logs its losses and metrics by, as far as a config and its classes tell."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from lighter.adapters import CriterionAdapter
from lighter.base import BaseModule
from lighter.config.tree import Node, is_target
from lighter.engine.check.context import Context
from lighter.engine.check.metrics import Names, metrics_of
from lighter.engine.check.returned import returns_dict, returns_no_dict
from lighter.forward import ForwardModule
from lighter.system import System

_ANY = Names((), None)
_ONE = Names(("loss",), ("loss",))
_SEVERAL = Names(("loss/total",), ("loss/",))


def loss_names(context: Context, mode: str) -> Names:
    """Return the names of the losses of a mode, without the mode: `loss`, or `loss/total` and others."""
    kind = context.module
    if kind is None:
        return _ANY
    if issubclass(kind, ForwardModule):
        return _SEVERAL if _keeps(kind, ForwardModule, "forward_step", "loss_step") else _ANY
    if context.argument(context.section, "loss_weights") is not None:
        return _SEVERAL
    if not issubclass(kind, System) or not _keeps(kind, System, "step", "compute_loss"):
        return _ANY
    return _of_criterion(context, mode)


def _keeps(kind: type, base: type, *methods: str) -> bool:
    return all(getattr(kind, name) is getattr(base, name) for name in methods)


def _of_criterion(context: Context, mode: str) -> Names:
    adapter = context.argument(context.section, "adapters", mode, "criterion")
    criterion = context.argument(context.section, "criterion")
    if criterion is None or (adapter is not None and context.kind(adapter[0]) is not CriterionAdapter):
        return _ANY
    function = _called(context, *criterion)
    if returns_no_dict(function):
        return _ONE
    return _SEVERAL if returns_dict(function) else _ANY


def _called(context: Context, path: str, node: Node) -> Any:
    # What a call of the criterion runs, if that is known.
    target = context.targets.get(path)
    if isinstance(node.value, dict) and "_mode_" in node.value:
        return target if not isinstance(target, type) else None
    methods = [inspect.getattr_static(target, name, None) for name in ("forward", "__call__")]
    return next(filter(None, methods), None) if isinstance(target, type) else None


def metric_names(context: Context, mode: str) -> Names:
    """Return the names of the metrics of a mode, without `{mode}/metrics/`."""
    metrics = metrics_of(context, mode)
    if metrics is None:
        return _ANY
    names = [metric.names() for metric in metrics]
    certain = tuple(name for each in names for name in each.certain)
    if any(each.possible is None for each in names):
        return Names(certain, None)
    return Names(certain, tuple(name for each in names for name in each.possible or ()))


def certain_names(context: Context, loaders: int | None) -> Iterator[str]:
    """Yield the names of which it is certain that a fit logs them, with so many validation dataloaders, or None."""
    modes = {"val": "/dataloader_idx_0" if loaders is not None and loaders > 1 else "", "train": ""}
    if loaders == 0:
        del modes["val"]
    for mode, suffix in modes.items():
        yield from (f"{mode}/{name}/epoch{suffix}" for name in loss_names(context, mode).certain)
    kind, optimizer = context.module, context.argument(context.section, "optimizer")
    has_one = optimizer is not None and is_target(optimizer[1].value)
    if has_one and kind is not None and _keeps(kind, BaseModule, "configure_optimizers"):
        yield "train/lr"
    for mode, suffix in modes.items():
        yield from (f"{mode}/metrics/{name}/epoch{suffix}" for name in metric_names(context, mode).certain)
