"""Monitors whose name nothing logs, as far as that can be known.

A module of Lighter's own logs what the measurement contract names, and nothing else unless a callback of the user's
logs too. Code of the user's may log anything: then a monitor is doubted only if that code does not log at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

from lighter.config.problems import ERROR, WARNING, close_to, closest, nearest
from lighter.config.tree import is_reference, is_target
from lighter.engine.check.context import Context, is_ours, members_of_users
from lighter.engine.check.logged import certain_names, loss_names, metric_names
from lighter.engine.check.metrics import metrics_of

_LOGGED = re.compile(
    r"(?:(?:train|val)/(?:loss|metrics)(?:/.+)?/epoch|train/(?:loss|metrics)(?:/.+)?/step|train/lr|train/optimizer/.+)"
    r"(?:/dataloader_idx_\d+)?"
)
_VALUE = re.compile(r"(train|val)/(metrics|loss)/?(|.+)/(?:epoch|step)")
_NEARLY = 0.85
_WATCHERS = ("EarlyStopping", "ModelCheckpoint")
# Names that `ModelCheckpoint` finds beside what is logged.
_OF_CHECKPOINTS = ("epoch", "step")
_LOADER = re.compile(r"/dataloader_idx_(\d+)\Z")
_LOGGING = frozenset({"log", "log_dict", "callback_metrics", "logged_metrics"})


def check_monitors(context: Context) -> None:
    """Add a problem for each monitor of a callback or scheduler that nothing logs."""
    if context.stage == "fit":
        for watcher in watchers(context):
            check_watched(context, watcher)


def check_watched(context: Context, watcher: Watcher) -> None:
    """Add a problem if nothing logs what is watched in a fit."""
    kind = context.module
    if kind is None:
        return
    callbacks = [callback for _, callback in context.objects("callbacks")]
    if _logs(kind) or not all(callback is not None and not _logs(callback) for callback in callbacks):
        return
    # A module of the user's may log more.
    severity = ERROR if kind.__module__.startswith("lighter.") else WARNING
    has_rates = any(each is not None and each.__name__ == "LearningRateMonitor" for each in callbacks)
    name = watcher.monitor
    if watcher.is_checkpoint and name in _OF_CHECKPOINTS:
        return
    if has_rates and name.partition("/")[0] not in ("train", "val", "test"):
        return  # named after an optimizer, or as its scheduler is
    wrong = _wrong(context, name)
    if wrong:
        message, hint = wrong
        context.problem(f"nothing logs `{name}`{message}", watcher.path, hint or _hint(context, name), severity)


def _logs(kind: type) -> bool:
    for member in members_of_users(kind):
        # Steps are wrapped to be measured; the user's code is within.
        is_measured = getattr(member, "is_measured", None) is member
        function = getattr(member, "unmeasured", member) if is_measured else member
        code = getattr(function, "__code__", None)
        if not isinstance(code, CodeType) and callable(function) and not isinstance(function, type):
            return True  # a descriptor or a callable whose code is elsewhere
        if isinstance(code, CodeType) and any(_LOGGING & set(inner.co_names) for inner in _codes(code)):
            return True
    return False


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


@dataclass(frozen=True)
class Watcher:
    """A callback or a scheduler that watches a value.

    `holder` is its definition, or the dict that has its scheduler; the name `monitor` is written at `path`.
    """

    holder: str
    path: str
    monitor: str
    is_checkpoint: bool = False
    is_scheduler: bool = False


def watchers(context: Context) -> Iterator[Watcher]:
    """Yield the callbacks and schedulers whose monitor is written in the config."""
    for path, target in context.targets.items():
        names = class_names(target)
        if path.startswith("trainer") and any(name in _WATCHERS for name in names):
            yield from _watcher(context, path, is_checkpoint="ModelCheckpoint" in names)
    scheduler = context.argument(context.section, "scheduler")
    for path in context.items(scheduler[0]) if scheduler is not None else ():
        value = context.node(path).value
        if isinstance(value, dict) and not is_target(value):
            yield from _watcher(context, path, is_scheduler=True)


def _watcher(
    context: Context, path: str, *, is_checkpoint: bool = False, is_scheduler: bool = False
) -> Iterator[Watcher]:
    argument = context.argument(path, "monitor")
    # the value of an expression is not known yet
    if argument is not None and isinstance(argument[1].value, str) and not is_reference(argument[1].value):
        yield Watcher(path, argument[0], argument[1].value, is_checkpoint, is_scheduler)


def class_names(target: object) -> list[str]:
    return [each.__name__ for each in target.__mro__] if isinstance(target, type) else []


def _wrong(context: Context, name: str) -> tuple[str, str] | None:
    """Return why nothing logs a name, and what to do; None where something may."""
    # A false alarm would stop a run that works.
    if name.startswith("test/"):
        return ": `fit` runs train and val", ""
    if not _LOGGED.fullmatch(name):
        return "", ""
    wrong_loader = _wrong_loader(name, _val_loaders(context)) if name.startswith("val/") else None
    value = _VALUE.match(name)
    if wrong_loader is not None or value is None:
        return wrong_loader
    mode, kind, inner = value.groups()
    names = metric_names(context, mode) if kind == "metrics" else loss_names(context, mode)
    if names.may_have(inner if kind == "metrics" else f"loss{inner and '/'}{inner}"):
        return None
    if kind == "metrics":
        if inner in {key for each in metrics_of(context, mode) or () for key in each.array_names()}:
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


def _val_loaders(context: Context) -> int | None:
    if context.section == "system":
        loaders = context.argument("system", "dataloaders")
        if loaders is None or not isinstance(loaders[1].value, dict) or is_target(loaders[1].value):
            return None
        argument = context.argument("system", "dataloaders", "val")
        if argument is None:
            return 0
    else:
        data = context.kind("data")
        argument = context.argument("data", "val_dataloader") if data is not None and is_ours(data) else None
    if argument is None:
        return None
    path, node = argument
    # One dataloader; what another class gives, nobody knows before it is called.
    if is_target(node.value):
        kind = context.kind(path)
        return 1 if kind is not None and kind.__name__ == "DataLoader" else None
    return len(node.value) if isinstance(node.value, (list, dict)) else None


def _hint(context: Context, name: str) -> str:
    names = [each for each in certain_names(context, _val_loaders(context)) if each != name]
    mode, _, rest = name.partition("/")
    mode, kind = mode.replace("test", "val"), rest.partition("/")[0]
    whole = f"{mode}/{rest}/epoch"
    alike = [each for each in names if each.startswith(f"{mode}/{kind}/" if kind in ("loss", "metrics") else mode)]
    # A misspelt name of the same kind is nearer than a missing `/epoch`, and both than any other name.
    near = close_to(whole, alike, cutoff=_NEARLY)
    if near is not None:
        return f"Did you mean `{near}`?"
    if not _LOGGED.fullmatch(name) and _LOGGED.fullmatch(whole) and _wrong(context, whole) is None:
        return f"Values of an epoch end in `/epoch`: `{whole}`, if that is logged."
    close = closest(name, alike) or (closest(name, names) if kind not in ("loss", "metrics") else "")
    if close:
        return close
    losses = "A loss is `val/loss/epoch`, or of several `val/loss/total/epoch` and `val/loss/NAME/epoch`."
    is_known = bool(loss_names(context, "val").certain)
    return "\n".join(filter(None, [nearest("", names), "" if is_known else losses]))
