"""Monitors whose name nothing logs, as far as that can be known.

A module of Lighter's own logs what the measurement contract names, and nothing else unless a callback of the user's
logs too. Code of the user's may log anything: then a monitor is doubted only if that code does not log at all.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

from lighter.config.problems import ERROR, WARNING, close_to, closest, nearest
from lighter.config.tree import Node, disabled, is_reference, is_target, join
from lighter.engine.check.found import Found
from lighter.engine.check.logged import certain_names, loss_names, metric_names
from lighter.engine.check.metrics import metrics_of
from lighter.engine.check.missing import is_ours

_LOGGED = re.compile(
    r"(?:(?:train|val)/(?:loss|metrics)(?:/.+)?/epoch|train/(?:loss|metrics)(?:/.+)?/step|train/lr|train/optimizer/.+)"
    r"(?:/dataloader_idx_\d+)?"
)
_VALUE = re.compile(r"(train|val)/(metrics|loss)/?(|.+)/(?:epoch|step)")
_NEARLY = 0.85
_WATCHERS = ("EarlyStopping", "ModelCheckpoint")
_OF_CHECKPOINTS = ("epoch", "step")  # what `ModelCheckpoint` finds beside what is logged
_LOADER = re.compile(r"/dataloader_idx_(\d+)\Z")
_LOGGING = frozenset({"log", "log_dict", "callback_metrics", "logged_metrics"})
_KNOWN = ("pytorch_lightning", "lightning", "lighter", "torch", "builtins")


def check_monitors(found: Found) -> None:
    """Look at the monitors of callbacks and schedulers."""
    base = sys.modules.get("lighter.base")
    kind = found.kind(found.section)
    if found.stage != "fit" or kind is None or base is None or not issubclass(kind, base.BaseModule):
        return
    callbacks = [*_callbacks(found)]
    if _logs(kind) or not all(kind is not None and not _logs(kind) for kind in callbacks):
        return
    severity = ERROR if kind.__module__.startswith("lighter.") else WARNING  # a module of the user's may do more
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
        if disabled(inner.value) is False:
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
    value = _VALUE.match(name)
    if value is None:
        return None
    mode, kind, inner = value.groups()
    names = metric_names(found, mode) if kind == "metrics" else loss_names(found, mode)
    if names.may_have(inner if kind == "metrics" else f"loss{inner and '/'}{inner}"):
        return None
    if kind == "metrics":
        if inner in {key for each in metrics_of(found, mode) or () for key in each.array_names()}:
            return ": it is no single number, and kept in `arrays/` of the run's folder", ""
        listed = dict.fromkeys(each.rstrip("/_") for each in names.possible or ())
        return f": the metrics of {mode} are: {', '.join(listed) or 'none'}", ""
    return ": there is one loss" if inner else ": losses have names, and there is their total", ""


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


def _hint(found: Found, name: str) -> str:
    """The nearest name of the same mode and kind, or else of any, or else all of them."""
    names = [each for each in certain_names(found, val_loaders(found)) if each != name]
    mode, _, rest = name.partition("/")
    mode, kind = mode.replace("test", "val"), rest.partition("/")[0]
    whole = f"{mode}/{rest}/epoch"
    alike = [each for each in names if each.startswith(f"{mode}/{kind}/" if kind in ("loss", "metrics") else mode)]
    near = close_to(whole, alike, cutoff=_NEARLY)
    if near is not None:
        return f"Did you mean `{near}`?"
    if not _LOGGED.fullmatch(name) and _LOGGED.fullmatch(whole) and _wrong(found, whole) is None:
        return f"Values of an epoch end in `/epoch`: `{whole}`, if that is logged."
    close = closest(name, alike) or (closest(name, names) if kind not in ("loss", "metrics") else "")
    if close:
        return close
    losses = "A loss is `val/loss/epoch`, or of several `val/loss/total/epoch` and `val/loss/NAME/epoch`."
    is_known = bool(loss_names(found, "val").certain)
    return "\n".join(filter(None, [nearest("", names), "" if is_known else losses]))
