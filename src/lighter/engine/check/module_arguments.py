"""The arguments of Lighter's own modules whose keys are Lighter's: by mode, of schedulers, of parameter groups."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

from lighter.base import BaseModule
from lighter.config.annotations import UNKNOWN
from lighter.config.check.calls import plain
from lighter.config.problems import close_to, closest, indefinite, nearest
from lighter.config.tree import Node, is_reference, is_target, join
from lighter.engine.check.constructors import is_known
from lighter.engine.check.context import Context, is_ours
from lighter.errors import ModuleError
from lighter.parts.metrics.loss_weights import LossWeights
from lighter.parts.optimization.parameter_groups import GROUP_HINT, SELECTION_KEYS
from lighter.parts.optimization.parameter_types import KINDS
from lighter.parts.optimization.schedulers import mistakes_in
from lighter.parts.prediction.tasks import PredictTasks
from lighter.parts.weights.finetune import Finetune
from lighter.parts.weights.initial_weights import check_match
from lighter.system import ADAPTERS, MODES

_OPTIMIZER = "optimizer: {_target_: torch.optim.Adam, lr: 0.001}"
_INTERVALS = ("epoch", "step")


def check_module_arguments(context: Context) -> None:
    """Add a problem for each wrong key or value in the dicts that the module is given."""
    kind = context.module
    if kind is None:
        return
    if is_ours(kind):
        if context.section == "system":
            _check_modes(context)
        _check_values(context, kind)
    if kind.configure_optimizers is not BaseModule.configure_optimizers:
        return
    for path, node in _items(context, "scheduler"):
        if isinstance(node.value, dict) and not is_target(node.value):
            _check_scheduler(context, path, node)
    for path, node in _items(context, "optimizer"):
        if is_target(node.value):
            _check_groups(context, path)
        elif not is_reference(node.value):
            shown = "a dict without `_target_`" if isinstance(node.value, dict) else indefinite(node.value)
            context.problem(f"an optimizer is an object; found {shown}", path, _OPTIMIZER)


def _items(context: Context, key: str) -> list[tuple[str, Node]]:
    argument = context.argument(context.section, key)
    paths = map(context.followed, context.items(argument[0])) if argument is not None else ()
    return [(path, node) for path in paths if (node := context.tree.find(path)) is not None]


def _check_values(context: Context, kind: type[BaseModule]) -> None:
    # These checks of a module's constructor need nothing but the value.
    checks: dict[str, Callable[[Any], object]] = {
        "finetune_cfg": Finetune,
        "ckpt_match": check_match,
        "loss_weights": LossWeights,
        "predict_tasks": lambda names: PredictTasks(names, kind),
    }
    for key, check in checks.items():
        argument = context.argument(context.section, key)
        value = plain(argument[1]) if argument is not None else UNKNOWN
        if argument is None or not is_known(value) or any(each.path == argument[0] for each in context.problems):
            continue
        try:
            check(value)
        except ModuleError as error:
            where = join(context.section, error.key)
            message, _, hint = str(error).partition("\n")
            context.problem(message, where if context.tree.find(where) is not None else argument[0], hint)


def _check_modes(context: Context) -> None:
    for key, modes in (("dataloaders", MODES), ("metrics", MODES[:3]), ("adapters", MODES)):
        argument = context.argument("system", key)
        if argument is None or is_target(argument[1].value):
            continue
        _check_keys(context, *argument, modes, "mode")
        for mode in argument[1].steps() if key == "adapters" else ():
            adapters = context.argument(argument[0], mode)
            if adapters is not None and not is_target(adapters[1].value):
                _check_keys(context, *adapters, ADAPTERS, "adapter")


def _check_keys(context: Context, path: str, node: Node, allowed: Collection[str], noun: str) -> None:
    for key in node.value if isinstance(node.value, dict) else ():
        if key not in allowed:
            context.problem(f"there is no {noun} `{key}`", join(path, key), nearest(key, allowed), at_key=True)


def _check_scheduler(context: Context, path: str, node: Node) -> None:
    written = {str(key): plain(child) for key, child in node.value.items()}
    for key, message, hint in mistakes_in(written, unknown=UNKNOWN):
        context.problem(message, join(path, key) if key else path, hint, at_key=key in node.value)
    interval = node.value.get("interval")
    if interval is not None and interval.value not in _INTERVALS and not is_reference(interval.value):
        message = f"`interval` is {' or '.join(_INTERVALS)}; found {interval.value!r}"
        context.problem(message, join(path, "interval"), closest(interval.value, _INTERVALS))


def _check_groups(context: Context, path: str) -> None:
    """See that parameter groups name their parameters, and that no option is a misspelt one of the optimizer's."""
    groups, target = context.argument(path, "params"), context.targets.get(path)
    if groups is None or not isinstance(target, type):
        return
    options = list(inspect.signature(target).parameters)
    for item in context.items(groups[0]):
        group = context.node(item)
        if not isinstance(group.value, dict) or is_target(group.value):
            continue
        if "params" not in group.value:
            context.problem("a parameter group has `params`", item, GROUP_HINT)
        for selection in context.items(join(item, "params")):
            _check_selection(context, selection)
        for key in group.value:
            # Groups may hold keys of the user's own; only a near miss is a mistake.
            hint = closest(key, options)
            if key not in options and hint:
                context.problem(f"{target.__name__} has no option `{key}`", join(item, key), hint, at_key=True)


def _check_selection(context: Context, path: str) -> None:
    """See that a dict that selects parameters has `name` and `type`, and that a type is a kind or a class's name."""
    chosen = context.node(path).value
    for key in chosen if isinstance(chosen, dict) and not is_target(chosen) else ():
        if key not in SELECTION_KEYS:
            hint = nearest(key, SELECTION_KEYS)
            context.problem("`params` as a dict has `name` and `type`", join(path, key), hint, at_key=True)
    for item in context.items(join(path, "type")):
        kind = context.node(item).value
        if is_target(kind) or is_reference(kind):
            continue
        # names of classes are not in lower case
        close = close_to(kind, KINDS) if isinstance(kind, str) and kind.islower() else None
        if not isinstance(kind, str) or (close is not None and kind not in KINDS):
            message = f"`type` is `norm`, `bias` or the name of a class; found {indefinite(kind)}"
            context.problem(message, item, f"Did you mean `{close}`?" if close is not None else "")
