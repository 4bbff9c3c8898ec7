"""The arguments of Lighter's own modules whose keys are Lighter's: by mode, of schedulers, of parameter groups."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection
from typing import Any

from lighter.config.annotations import UNKNOWN
from lighter.config.check.calls import plain
from lighter.config.problems import close_to, closest, indefinite, nearest
from lighter.config.tree import Node, is_reference, is_target, join
from lighter.engine.check.constructors import is_known
from lighter.engine.check.found import Found
from lighter.engine.check.missing import is_ours
from lighter.errors import ModuleError

_OPTIMIZER = "optimizer: {_target_: torch.optim.Adam, lr: 0.001}"
INTERVALS = ("epoch", "step")


def check_own(found: Found) -> None:
    """The keys of what the module is given as dicts."""
    base: Any = sys.modules.get("lighter.base")
    kind: Any = found.kind(found.section)
    if kind is None or base is None or not issubclass(kind, base.BaseModule):
        return
    if found.section == "system" and is_ours(kind):
        _check_modes(found)
    if is_ours(kind):
        _check_values(found, kind)
    if kind.configure_optimizers is base.BaseModule.configure_optimizers:
        for path, node in _each(found, "scheduler"):
            if isinstance(node.value, dict) and not is_target(node.value):
                _check_scheduler(found, path, node)
        for path, node in _each(found, "optimizer"):
            if is_target(node.value):
                _check_groups(found, path)
            elif not is_reference(node.value):
                shown = "a dict without `_target_`" if isinstance(node.value, dict) else indefinite(node.value)
                found.problem(f"an optimizer is an object; found {shown}", path, _OPTIMIZER)


def _each(found: Found, key: str) -> list[tuple[str, Node]]:
    """An argument of the module, or the items of its list."""
    given = found.argument(found.section, key)
    if given is None:
        return []
    path, node = given
    if not isinstance(node.value, list):
        return [given]
    paths = [found.followed(join(path, step)) for step in node.steps()]
    return [(here, found.node(here)) for here in paths if found.tree.find(here) is not None]


def _check_values(found: Found, kind: type) -> None:
    """The arguments that are checked when the module is made, by what they say alone."""
    from lighter.parts.metrics.loss_weights import LossWeights
    from lighter.parts.prediction.tasks import PredictTasks
    from lighter.parts.weights.finetune import Finetune
    from lighter.parts.weights.initial_weights import check_match

    checks: dict[str, Callable[[Any], object]] = {
        "finetune_cfg": Finetune,
        "ckpt_match": check_match,
        "loss_weights": LossWeights,
        "predict_tasks": lambda names: PredictTasks(names, kind),
    }
    for key, check in checks.items():
        given = found.argument(found.section, key)
        value = plain(given[1]) if given is not None else UNKNOWN
        if given is None or not is_known(value) or any(problem.path == given[0] for problem in found.problems):
            continue
        try:
            check(value)
        except ModuleError as error:
            where = join(found.section, error.key)
            message, _, hint = str(error).partition("\n")
            found.problem(message, where if found.tree.find(where) is not None else given[0], hint)


def _check_modes(found: Found) -> None:
    from lighter.system import ADAPTERS, MODES

    for key, modes in (("dataloaders", MODES), ("metrics", MODES[:3]), ("adapters", MODES)):
        given = found.argument("system", key)
        if given is None or is_target(given[1].value):
            continue
        _check_keys(found, given[0], given[1], modes, "mode")
        for mode in given[1].steps() if key == "adapters" else ():
            inner = found.argument(given[0], mode)
            if inner is not None and not is_target(inner[1].value):
                _check_keys(found, inner[0], inner[1], ADAPTERS, "adapter")


def _check_keys(found: Found, path: str, node: Node, allowed: Collection[str], what: str) -> None:
    for key in node.value if isinstance(node.value, dict) else ():
        if key not in allowed:
            found.problem(f"there is no {what} `{key}`", join(path, key), nearest(key, allowed), at_key=True)


def _check_scheduler(found: Found, path: str, node: Node) -> None:
    from lighter.parts.optimization.schedulers import mistakes_in

    written = {str(key): plain(child) for key, child in node.value.items()}
    for key, message, hint in mistakes_in(written, unknown=UNKNOWN):
        found.problem(message, join(path, key) if key else path, hint, at_key=key in node.value)
    interval = node.value.get("interval")
    if interval is not None and interval.value not in INTERVALS and not is_reference(interval.value):
        message = f"`interval` is {' or '.join(INTERVALS)}; found {interval.value!r}"
        found.problem(message, join(path, "interval"), closest(interval.value, INTERVALS))


def _check_groups(found: Found, path: str) -> None:
    """Parameter groups name their parameters; an option that is nearly one of the optimizer's is misspelt."""
    from lighter.parts.optimization.parameter_groups import GROUP_HINT

    groups, target = found.argument(path, "params"), found.targets.get(path)
    if groups is None or not isinstance(target, type):
        return
    here, node = groups
    options = [name for name in inspect.signature(target).parameters if name != "self"]
    for place in [join(here, step) for step in node.steps()] if isinstance(node.value, list) else [here]:
        group = found.node(place)
        if not isinstance(group.value, dict) or is_target(group.value):
            continue
        if "params" not in group.value:
            found.problem("a parameter group has `params`", place, GROUP_HINT)
        _check_selection(found, join(place, "params"))
        for key in group.value:
            hint = closest(key, options)
            if key not in options and hint:
                found.problem(f"{target.__name__} has no option `{key}`", join(place, key), hint, at_key=True)


def _check_selection(found: Found, path: str) -> None:
    """A dict that chooses parameters has `name` and `type`, and a type is of a kind or a class, by its name."""
    from lighter.parts.optimization.parameter_groups import SELECTION_KEYS

    node = found.tree.find(path)
    is_list = node is not None and isinstance(node.value, list)
    for place in [join(path, step) for step in node.steps()] if node is not None and is_list else [path]:
        chosen = found.tree.find(place)
        given = chosen.value if chosen is not None else None
        for key in given if isinstance(given, dict) and not is_target(given) else ():
            if key not in SELECTION_KEYS:
                hint = nearest(key, SELECTION_KEYS)
                found.problem("`params` as a dict has `name` and `type`", join(place, key), hint, at_key=True)
        _check_types(found, join(place, "type"))


def _check_types(found: Found, path: str) -> None:
    """A type that is nearly `norm` or `bias`; others may be classes, whose names are not in lower case."""
    from lighter.parts.optimization.parameter_types import KINDS

    node = found.tree.find(path)
    is_list = node is not None and isinstance(node.value, list)
    for place in [join(path, step) for step in node.steps()] if node is not None and is_list else [path]:
        kind = found.tree.find(place)
        if kind is None or is_target(kind.value) or is_reference(kind.value):
            continue
        close = close_to(kind.value, KINDS) if isinstance(kind.value, str) and kind.value.islower() else None
        if not isinstance(kind.value, str) or (close is not None and kind.value not in KINDS):
            message = f"`type` is `norm`, `bias` or the name of a class; found {indefinite(kind.value)}"
            found.problem(message, place, f"Did you mean `{close}`?" if close is not None else "")
