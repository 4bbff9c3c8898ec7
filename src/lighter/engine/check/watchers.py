"""Callbacks and schedulers that watch a value: whether it is there when they ask, and which direction is better."""

from __future__ import annotations

import re

from lighter.config.problems import WARNING
from lighter.config.tree import join
from lighter.engine.check.context import Context
from lighter.engine.check.metrics import metrics_of
from lighter.engine.check.monitors import Watcher, class_names, watchers

_LOSS = re.compile(r"(?:train|val)/loss(?:/.+)?/epoch(?:/dataloader_idx_\d+)?")
_METRIC = re.compile(r"(train|val)/metrics/(.+)/epoch(?:/dataloader_idx_\d+)?")
_FOLDERS = re.compile(r"\{[^{}:]*/[^{}]*\}")


def check_watchers(context: Context) -> None:
    """Check when each watches, in which direction, and what checkpoints are called."""
    if context.stage != "fit":
        return
    _check_filenames(context)
    for watcher in watchers(context) if context.module is not None else ():
        _check_direction(context, watcher)
        if watcher.is_scheduler:
            _check_plateau(context, watcher)
        elif watcher.is_checkpoint:
            _check_moment(context, watcher)


def _check_filenames(context: Context) -> None:
    # A value's name with a `/` makes folders of a checkpoint's name.
    for path, target in context.targets.items():
        name = context.plain(path, "filename")
        inserts = context.plain(path, "auto_insert_metric_name") is not False
        is_folder = isinstance(name, str) and inserts and _FOLDERS.search(name)
        if is_folder and "ModelCheckpoint" in class_names(target):
            message = "each `/` of a value's name makes a folder: the name is put before the value"
            hint = "Write names yourself: `auto_insert_metric_name: false`, `filename: 'loss={val/loss/epoch:.2f}'`."
            context.problem(message, join(path, "filename"), hint, WARNING)


def _check_direction(context: Context, watcher: Watcher) -> None:
    holder = context.followed(join(watcher.holder, "scheduler")) if watcher.is_scheduler else watcher.holder
    if context.tree.find(holder) is None or context.kind(holder) is None:
        return
    # The default of Lightning's callbacks and of torch's scheduler alike.
    mode = context.plain(holder, "mode", "min")
    better = _higher_is_better(context, watcher.monitor)
    if mode not in ("min", "max") or better is None or better == (mode == "max"):
        return
    right = "max" if better else "min"
    best = {"min": "lowest", "max": "highest"}
    message = f"`{watcher.monitor}` is best at its {best[right]}; `mode: {mode}` takes the {best[mode]} for it"
    where = join(holder, "mode") if context.tree.find(join(holder, "mode")) is not None else watcher.path
    context.problem(message, where, f"Write `mode: {right}`.", WARNING)


def _higher_is_better(context: Context, name: str) -> bool | None:
    if _LOSS.fullmatch(name):
        return False
    match = _METRIC.fullmatch(name)
    metrics = metrics_of(context, match[1]) or () if match else ()
    named = (metric for metric in metrics if match is not None and match[2] in metric.names().certain)
    metric = next(named, None)
    return metric.higher_is_better if metric is not None else None


def _check_plateau(context: Context, watcher: Watcher) -> None:
    # It may step when there is no value of a validation yet, and then Lightning fails.
    kind = context.kind(join(watcher.holder, "scheduler"))
    frequency = context.plain(watcher.holder, "frequency", 1)
    is_lenient = context.plain(watcher.holder, "strict", True) is not True
    if kind is None or kind.__name__ != "ReduceLROnPlateau" or not watcher.monitor.startswith("val/") or is_lenient:
        return
    if not isinstance(frequency, int) or context.plain(watcher.holder, "manual") is not None:
        return
    interval = context.plain(watcher.holder, "interval", "epoch")
    epochs = context.plain("trainer", "check_val_every_n_epoch", 1)
    if interval == "step" and frequency == 1 and context.plain("trainer", "val_check_interval") != 1:
        message = f"there is no `{watcher.monitor}` yet when this first steps: it steps after every step"
        context.problem(message, join(watcher.holder, "interval"), "Write `interval: epoch`.")
    elif interval == "epoch" and isinstance(epochs, int) and epochs > 1 and frequency % epochs:
        message = f"there is no `{watcher.monitor}` yet when this first steps: the validation is every {epochs} epochs"
        context.problem(message, watcher.path, f"Write `frequency: {epochs}`.")


def _check_moment(context: Context, watcher: Watcher) -> None:
    # The value that chooses the checkpoint would be of other weights than are in it.
    steps = context.plain(watcher.holder, "every_n_train_steps")
    every = context.plain("trainer", "val_check_interval", 1.0)
    if not isinstance(steps, int) or steps < 1 or not watcher.monitor.startswith("val/"):
        return
    if isinstance(every, int) and not isinstance(every, bool) and steps % every == 0:
        return
    message = f"in the middle of an epoch, `{watcher.monitor}` is that of the last validation, of other weights"
    hint = "Leave out `every_n_train_steps`, or validate as often: `trainer::val_check_interval`."
    context.problem(message, join(watcher.holder, "every_n_train_steps"), hint, WARNING)
