"""Monitors whose name nothing logs, as far as that can be known.

A `System` logs what the measurement contract names, and nothing else unless a callback of the user's logs too. Code of
the user's may log anything: then a monitor is doubted only if that code does not log at all.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

from lighter.config.problems import ERROR, WARNING, closest, nearest
from lighter.config.tree import Node, is_reference, is_target, join
from lighter.engine.check.found import Found
from lighter.engine.check.metrics import metrics_of
from lighter.engine.check.missing import is_ours
from lighter.trainer import DEFAULT_MONITORS

_LOGGED = re.compile(
    r"(?:(?:train|val)/(?:loss|metrics)(?:/.+)?/epoch|train/(?:loss|metrics)(?:/.+)?/step|train/lr|train/optimizer/.+)"
    r"(?:/dataloader_idx_\d+)?"
)
_METRIC = re.compile(r"(train|val)/metrics/(.+)/(?:epoch|step)")
_WATCHERS = ("EarlyStopping", "ModelCheckpoint")
_OF_CHECKPOINTS = ("epoch", "step")  # what `ModelCheckpoint` finds beside what is logged
_LOADER = re.compile(r"/dataloader_idx_(\d+)\Z")
_LOGGING = frozenset({"log", "log_dict", "callback_metrics", "logged_metrics"})
_KNOWN = ("pytorch_lightning", "lightning", "lighter", "torch", "builtins")


def check_monitors(found: Found) -> None:
    """Look at the monitors of callbacks and schedulers."""
    system = sys.modules.get("lighter.system")
    base = sys.modules.get("lighter.base")
    kind = found.kind(found.section)
    if found.stage != "fit" or kind is None or base is None or not issubclass(kind, base.BaseModule):
        return
    callbacks = [*_callbacks(found)]
    if _logs(kind) or not all(kind is not None and not _logs(kind) for kind in callbacks):
        return
    severity = ERROR if system is not None and kind is system.System else WARNING
    has_rates = any(kind is not None and kind.__name__ == "LearningRateMonitor" for kind in callbacks)
    for watcher in watchers(found):
        path, name = watcher.path, watcher.monitor
        if watcher.is_checkpoint and name in _OF_CHECKPOINTS:
            continue
        if has_rates and name.partition("/")[0] not in ("train", "val", "test"):
            continue  # named after an optimizer, or as its scheduler is
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


@dataclass(frozen=True)
class Watcher:
    """A callback or a scheduler that watches a value.

    Attributes:
        holder: its definition, or the dict that has its scheduler.
        path: where the name of the value is written.
        monitor: that name.
        is_checkpoint: whether it is a checkpoint callback.
        is_scheduler: whether it is a scheduler.
    """

    holder: str
    path: str
    monitor: str
    is_checkpoint: bool = False
    is_scheduler: bool = False


def watchers(found: Found) -> Iterator[Watcher]:
    """Yield the callbacks and schedulers whose monitor is written in the config."""
    for path, target in found.targets.items():
        names = [each.__name__ for each in target.__mro__] if isinstance(target, type) else []
        if path.startswith("trainer") and any(name in _WATCHERS for name in names):
            for where, name in _literal(found, path, "monitor"):
                yield Watcher(path, where, name, is_checkpoint="ModelCheckpoint" in names)
    scheduler = found.argument(found.section, "scheduler")
    if scheduler is not None:
        yield from _of_scheduler(found, *scheduler)


def _of_scheduler(found: Found, path: str, node: Node) -> Iterator[Watcher]:
    if isinstance(node.value, list):
        for index, item in enumerate(node.value):
            yield from _of_scheduler(found, join(path, index), item)
    elif isinstance(node.value, dict) and not is_target(node.value):
        for where, name in _literal(found, path, "monitor"):
            yield Watcher(path, where, name, is_scheduler=True)


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
    if name.startswith("val/"):
        wrong = _wrong_loader(name, val_loaders(found))
        if wrong is not None:
            return wrong
    metric = _METRIC.match(name)
    names = metric_names(found, metric[1]) if metric else None
    if metric and names is not None and metric[2] not in names:
        arrays = {key for each in metrics_of(found, metric[1]) or () for key in each.array_names()}
        if metric[2] in arrays:
            return ": it is no single number, and kept in `arrays/` of the run's folder", ""
        return f": the metrics of {metric[1]} are: {', '.join(names) or 'none'}", ""
    return None


def _wrong_loader(name: str, count: int | None) -> tuple[str, str] | None:
    """Return the message and hint for a name whose loader suffix does not fit the loaders; None if it fits."""
    suffix = _LOADER.search(name)
    if count == 0:
        return ": there is no val dataloader", "Add `system::dataloaders::val`."
    if count == 1 and suffix is not None:
        return ": there is one val dataloader", f"Did you mean `{name[: suffix.start()]}`?"
    if count is not None and count > 1 and (suffix is None or int(suffix[1]) >= count):
        bare = name[: suffix.start()] if suffix is not None else name
        message = f": there are {count} val dataloaders, with values of their own"
        return message, f"Did you mean `{bare}/dataloader_idx_0`? They go up to `dataloader_idx_{count - 1}`."
    return None


def val_loaders(found: Found) -> int | None:
    """The number of validation loaders; None where that is not known."""
    if found.section == "system":
        loaders = found.argument("system", "dataloaders")
        if loaders is None or not isinstance(loaders[1].value, dict) or is_target(loaders[1].value):
            return None
        given = found.argument(loaders[0], "val")
        if given is None:
            return 0
    else:
        data = found.kind("data")
        given = found.argument("data", "val_dataloader") if data is not None and is_ours(data) else None
    if given is None:
        return None
    path, node = given
    if is_target(node.value):
        kind = found.kind(path)
        return 1 if kind is not None and kind.__name__ == "DataLoader" else None
    return len(node.value) if isinstance(node.value, (list, dict)) else None


def metric_names(found: Found, mode: str) -> list[str] | None:
    """The names of the metrics of a mode; None where they cannot be told from the config."""
    metrics = metrics_of(found, mode)
    names = [metric.names() for metric in metrics] if metrics is not None else [None]
    return [name for each in names for name in each or ()] if None not in names else None


def _candidates(found: Found) -> list[str]:
    names = [*DEFAULT_MONITORS, "train/loss/epoch", "train/lr"]
    for mode in ("val", "train"):
        names += [f"{mode}/metrics/{name}/epoch" for name in metric_names(found, mode) or ()]
    return names


def _hint(found: Found, name: str) -> str:
    """The nearest name of the same mode, or else of any, or else all of them."""
    names = _candidates(found)
    mode = name.partition("/")[0].replace("test", "val")
    of_mode = closest(name, [each for each in names if each.startswith(f"{mode}/") and name != each])
    return of_mode or closest(name, names) or nearest("", [each for each in names if each != DEFAULT_MONITORS[1]])
