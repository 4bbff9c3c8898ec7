"""Names that a module of Lighter's logs its losses and metrics by, as far as a config and its classes tell."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

from lighter.config.tree import Node, is_target
from lighter.engine.check.found import Found
from lighter.engine.check.metrics import Names, metrics_of
from lighter.engine.check.returned import returns_dict, returns_no_dict

_ANY = Names((), None)
_ONE = Names(("loss",), ("loss",))
_SEVERAL = Names(("loss/total",), ("loss/",))


def loss_names(found: Found, mode: str) -> Names:
    """Return the names of the losses of a mode, without the mode: `loss`, or `loss/total` and others."""
    kind: Any = found.kind(found.section)
    forward: Any = getattr(sys.modules.get("lighter.forward"), "ForwardModule", None)
    if forward is not None and issubclass(kind, forward):
        return _SEVERAL if _keeps(kind, forward, "forward_step", "loss_step") else _ANY
    if found.argument(found.section, "loss_weights") is not None:
        return _SEVERAL
    system: Any = getattr(sys.modules.get("lighter.system"), "System", None)
    if system is None or not issubclass(kind, system) or not _keeps(kind, system, "step", "compute_loss"):
        return _ANY
    return _of_criterion(found, mode)


def _keeps(kind: type, base: type, *methods: str) -> bool:
    """Return whether a class has these methods of a base unchanged."""
    return all(getattr(kind, name) is getattr(base, name) for name in methods)


def _of_criterion(found: Found, mode: str) -> Names:
    from lighter.adapters import CriterionAdapter

    holder = found.argument(found.section, "adapters")
    of_mode = found.argument(holder[0], mode) if holder is not None else None
    adapter = found.argument(of_mode[0], "criterion") if of_mode is not None else None
    given = found.argument(found.section, "criterion")
    if given is None or (adapter is not None and found.kind(adapter[0]) is not CriterionAdapter):
        return _ANY
    function = _called(found, *given)
    if returns_no_dict(function):
        return _ONE
    return _SEVERAL if returns_dict(function) else _ANY


def _called(found: Found, path: str, node: Node) -> Any:
    """Return the function that a call of a criterion runs; None where that is not known."""
    target = found.targets.get(path)
    if isinstance(node.value, dict) and "_mode_" in node.value:
        return target if not isinstance(target, type) else None
    methods = [inspect.getattr_static(target, name, None) for name in ("forward", "__call__")]
    return next(filter(None, methods), None) if isinstance(target, type) else None


def metric_names(found: Found, mode: str) -> Names:
    """Return the names of the metrics of a mode, without `{mode}/metrics/`."""
    metrics = metrics_of(found, mode)
    if metrics is None:
        return _ANY
    names = [metric.names() for metric in metrics]
    certain = tuple(name for each in names for name in each.certain)
    if any(each.possible is None for each in names):
        return Names(certain, None)
    return Names(certain, tuple(name for each in names for name in each.possible or ()))


def certain_names(found: Found, loaders: int | None) -> Iterator[str]:
    """Yield the names of which it is certain that a fit logs them.

    Args:
        loaders: the number of validation dataloaders; None where that is not known.
    """
    modes = {"val": "/dataloader_idx_0" if loaders is not None and loaders > 1 else "", "train": ""}
    if loaders == 0:
        del modes["val"]
    for mode, suffix in modes.items():
        yield from (f"{mode}/{name}/epoch{suffix}" for name in loss_names(found, mode).certain)
    if _has_one_optimizer(found):
        yield "train/lr"
    for mode, suffix in modes.items():
        yield from (f"{mode}/metrics/{name}/epoch{suffix}" for name in metric_names(found, mode).certain)


def _has_one_optimizer(found: Found) -> bool:
    base: Any = sys.modules["lighter.base"].BaseModule
    kind: Any = found.kind(found.section)
    given = found.argument(found.section, "optimizer")
    return given is not None and is_target(given[1].value) and _keeps(kind, base, "configure_optimizers")
