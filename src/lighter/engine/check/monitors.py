"""Monitors whose name nothing logs, as far as that can be known.

A `System` logs what the measurement contract names, and nothing else unless a callback of the user's logs too. Code of
the user's may log anything: then a monitor is doubted only if that code does not log at all.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from types import CodeType

from lighter.config.problems import ERROR, WARNING, closest, nearest
from lighter.config.tree import Node, is_reference, is_target, join
from lighter.engine.check.found import Found
from lighter.trainer import DEFAULT_MONITORS

_LOGGED = re.compile(
    r"(?:(?:train|val)/(?:loss|metrics)(?:/.+)?/epoch|train/(?:loss|metrics)(?:/.+)?/step|train/lr|train/optimizer/.+)"
    r"(?:/dataloader_idx_\d+)?"
)
_METRIC = re.compile(r"(train|val)/metrics/(.+)/(?:epoch|step)")
_WATCHERS = ("EarlyStopping", "ModelCheckpoint")
_OF_ONE_NUMBER = ("torchmetrics.classification.", "torchmetrics.regression.")
_LOGGING = frozenset({"log", "log_dict", "callback_metrics", "logged_metrics"})
_KNOWN = ("pytorch_lightning", "lightning", "lighter", "torch", "builtins")


def check_monitors(found: Found) -> None:
    """Look at the monitors of callbacks and schedulers."""
    system = sys.modules.get("lighter.system")
    base = sys.modules.get("lighter.base")
    kind = found.kind(found.section)
    if found.stage != "fit" or kind is None or base is None or not issubclass(kind, base.BaseModule):
        return
    if _logs(kind) or not all(kind is not None and not _logs(kind) for kind in _callbacks(found)):
        return
    severity = ERROR if system is not None and kind is system.System else WARNING
    for path, name in _monitors(found):
        wrong = _wrong(found, name)
        if wrong:
            message, hint = wrong
            found.problem(f"nothing logs `{name}`{message}", path, hint or _hint(found, name), severity)


def _logs(kind: type) -> bool:
    """Whether code of the user's in a class may log values."""
    for each in kind.__mro__:
        if each.__module__.partition(".")[0] in _KNOWN:
            continue
        for member in vars(each).values():
            is_measured = getattr(member, "is_measured", None) is member
            member = getattr(member, "unmeasured", member) if is_measured else member
            code = getattr(member, "__code__", None)
            if not isinstance(code, CodeType) and callable(member) and not isinstance(member, type):
                return True  # a descriptor or a callable whose code is elsewhere
            if isinstance(code, CodeType) and any(_LOGGING & set(inner.co_names) for inner in _codes(code)):
                return True
    return False


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _callbacks(found: Found) -> Iterator[type | None]:
    """The classes of the trainer's callbacks; None for one that is not known."""
    callbacks = found.argument("trainer", "callbacks")
    if callbacks is None:
        return
    path, node = callbacks
    for here in [join(path, step) for step in node.steps()] if isinstance(node.value, list) else [path]:
        inner = found.node(here)
        if not (is_target(inner.value) and "_disabled_" in inner.value):
            yield found.kind(here)


def _monitors(found: Found) -> Iterator[tuple[str, str]]:
    """Path and name of each monitor that is written in the config."""
    for path, target in found.targets.items():
        watches = isinstance(target, type) and any(each.__name__ in _WATCHERS for each in target.__mro__)
        if watches and path.startswith("trainer"):
            yield from _literal(found, path, "monitor")
    scheduler = found.argument(found.section, "scheduler")
    if scheduler is not None:
        yield from _of_scheduler(found, *scheduler)


def _of_scheduler(found: Found, path: str, node: Node) -> Iterator[tuple[str, str]]:
    if isinstance(node.value, list):
        for index, item in enumerate(node.value):
            yield from _of_scheduler(found, join(path, index), item)
    elif isinstance(node.value, dict) and not is_target(node.value):
        yield from _literal(found, path, "monitor")


def _literal(found: Found, path: str, key: str) -> Iterator[tuple[str, str]]:
    given = found.argument(path, key)
    if given is not None and isinstance(given[1].value, str) and not is_reference(given[1].value):
        yield given[0], given[1].value


def _wrong(found: Found, name: str) -> tuple[str, str] | None:
    """Why nothing logs a name, and what to do; None where something may."""
    if name.startswith("test/"):
        return ": `fit` runs train and val", ""
    if not _LOGGED.fullmatch(name):
        return "", ""
    if name.startswith("val/") and found.section == "system" and _no_val(found):
        return ": there is no val dataloader", "Add `system::dataloaders::val`."
    metric = _METRIC.match(name)
    names = _metric_names(found, metric[1]) if metric else None
    if metric and names is not None and metric[2] not in names:
        return f": the metrics of {metric[1]} are: {', '.join(names) or 'none'}", ""
    return None


def _no_val(found: Found) -> bool:
    loaders = found.argument("system", "dataloaders")
    return loaders is not None and isinstance(loaders[1].value, dict) and found.argument(loaders[0], "val") is None


def _metric_names(found: Found, mode: str) -> list[str] | None:
    """The names of the metrics of a mode; None where they cannot be told from the config."""
    holder = found.argument("system", "metrics") if found.section == "system" else (found.section, None)
    given = found.argument(holder[0], mode if found.section == "system" else f"{mode}_metrics") if holder else None
    if given is None:
        return []
    path, node = given
    if is_target(node.value) or isinstance(node.value, list):
        paths = [path] if is_target(node.value) else [join(path, step) for step in node.steps()]
        kinds = [found.kind(here) for here in paths]
        return [kind.__name__ for kind in kinds if kind] if all(map(_gives_one_number, kinds)) else None
    if not isinstance(node.value, dict):
        return None
    return list(node.steps()) if all(_gives_one_number(found.kind(join(path, step))) for step in node.steps()) else None


def _gives_one_number(kind: type | None) -> bool:
    return kind is not None and kind.__module__.startswith(_OF_ONE_NUMBER)


def _candidates(found: Found) -> list[str]:
    names = [*DEFAULT_MONITORS, "train/loss/epoch", "train/lr"]
    for mode in ("val", "train"):
        names += [f"{mode}/metrics/{name}/epoch" for name in _metric_names(found, mode) or ()]
    return names


def _hint(found: Found, name: str) -> str:
    """The nearest name of the same mode, or else of any, or else all of them."""
    names = _candidates(found)
    mode = name.partition("/")[0].replace("test", "val")
    of_mode = closest(name, [each for each in names if each.startswith(f"{mode}/") and name != each])
    return of_mode or closest(name, names) or nearest("", [each for each in names if each != DEFAULT_MONITORS[1]])
