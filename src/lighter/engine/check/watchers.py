"""Callbacks and schedulers that watch a value: whether it is there when they ask, and which direction is better."""

from __future__ import annotations

import re
import sys
from typing import Any

from lighter.config.check.calls import plain
from lighter.config.problems import WARNING
from lighter.config.tree import join
from lighter.engine.check.found import Found
from lighter.engine.check.metrics import metrics_of
from lighter.engine.check.monitors import Watcher, watchers

_LOSS = re.compile(r"(?:train|val)/loss(?:/.+)?/epoch(?:/dataloader_idx_\d+)?")
_METRIC = re.compile(r"(train|val)/metrics/(.+)/epoch(?:/dataloader_idx_\d+)?")
_FOLDERS = re.compile(r"\{[^{}:]*/[^{}]*\}")


def check_watchers(found: Found) -> None:
    """Look at when each watches, in which direction, and what checkpoints are called."""
    if found.stage != "fit":
        return
    _check_filenames(found)
    base: Any = sys.modules.get("lighter.base")
    kind = found.kind(found.section)
    if kind is None or base is None or not issubclass(kind, base.BaseModule):
        return
    for watcher in watchers(found):
        _check_direction(found, watcher)
        if watcher.is_scheduler:
            _check_plateau(found, watcher)
        elif watcher.is_checkpoint:
            _check_moment(found, watcher)


def _check_filenames(found: Found) -> None:
    """A value's name with a `/` makes folders of a checkpoint's name."""
    for path, target in found.targets.items():
        names = [each.__name__ for each in target.__mro__] if isinstance(target, type) else []
        name = _plain(found, path, "filename")
        inserts = _plain(found, path, "auto_insert_metric_name") is not False
        if "ModelCheckpoint" in names and isinstance(name, str) and inserts and _FOLDERS.search(name):
            message = "each `/` of a value's name makes a folder: the name is put before the value"
            hint = "Write names yourself: `auto_insert_metric_name: false`, `filename: 'loss={val/loss/epoch:.2f}'`."
            found.problem(message, join(path, "filename"), hint, WARNING)


def _check_direction(found: Found, watcher: Watcher) -> None:
    """The mode of who watches, against what the value says of itself."""
    holder = found.followed(join(watcher.holder, "scheduler")) if watcher.is_scheduler else watcher.holder
    if found.tree.find(holder) is None or found.kind(holder) is None:
        return
    mode = _plain(found, holder, "mode", "min")
    better = _higher_is_better(found, watcher.monitor)
    if mode not in ("min", "max") or better is None or better == (mode == "max"):
        return
    right = "max" if better else "min"
    best = {"min": "lowest", "max": "highest"}
    message = f"`{watcher.monitor}` is best at its {best[right]}; `mode: {mode}` takes the {best[mode]} for it"
    where = join(holder, "mode") if found.tree.find(join(holder, "mode")) is not None else watcher.path
    found.problem(message, where, f"Write `mode: {right}`.", WARNING)


def _higher_is_better(found: Found, name: str) -> bool | None:
    if _LOSS.fullmatch(name):
        return False
    metric = _METRIC.fullmatch(name)
    for written in (metrics_of(found, metric[1]) or ()) if metric else ():
        if metric is not None and metric[2] in written.names().certain:
            return written.higher_is_better
    return None


def _check_plateau(found: Found, watcher: Watcher) -> None:
    """A scheduler that steps when there is no value of a validation yet."""
    kind = found.kind(join(watcher.holder, "scheduler"))
    frequency = _plain(found, watcher.holder, "frequency", 1)
    is_lenient = _plain(found, watcher.holder, "strict", True) is not True
    if kind is None or kind.__name__ != "ReduceLROnPlateau" or not watcher.monitor.startswith("val/") or is_lenient:
        return
    if not isinstance(frequency, int) or _plain(found, watcher.holder, "manual") is not None:
        return
    interval = _plain(found, watcher.holder, "interval", "epoch")
    epochs = _plain(found, "trainer", "check_val_every_n_epoch", 1)
    if interval == "step" and frequency == 1 and _plain(found, "trainer", "val_check_interval") != 1:
        message = f"there is no `{watcher.monitor}` yet when this first steps: it steps after every step"
        found.problem(message, join(watcher.holder, "interval"), "Write `interval: epoch`.")
    elif interval == "epoch" and isinstance(epochs, int) and epochs > 1 and frequency % epochs:
        message = f"there is no `{watcher.monitor}` yet when this first steps: the validation is every {epochs} epochs"
        found.problem(message, watcher.path, f"Write `frequency: {epochs}`.")


def _check_moment(found: Found, watcher: Watcher) -> None:
    """A checkpoint that is chosen by a validation of other weights."""
    steps = _plain(found, watcher.holder, "every_n_train_steps")
    validation = _plain(found, "trainer", "val_check_interval", 1.0)
    is_together = isinstance(validation, int) and not isinstance(validation, bool) and isinstance(steps, int)
    if not isinstance(steps, int) or steps < 1 or not watcher.monitor.startswith("val/"):
        return
    if is_together and steps % validation == 0:
        return
    message = f"in the middle of an epoch, `{watcher.monitor}` is that of the last validation, of other weights"
    hint = "Leave out `every_n_train_steps`, or validate as often: `trainer::val_check_interval`."
    found.problem(message, join(watcher.holder, "every_n_train_steps"), hint, WARNING)


def _plain(found: Found, path: str, key: str, default: Any = None) -> Any:
    """A plain argument; the default where it is left out or null."""
    given = found.argument(path, key)
    return plain(given[1]) if given is not None else default
