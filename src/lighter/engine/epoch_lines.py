"""A line per epoch for `run.log`, and for a terminal that has no progress bar: losses, monitored values, time."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from typing import Any

from pytorch_lightning import Callback

from lighter.runs.log import duration

log = logging.getLogger("lighter.runs")

_MOST = 6  # values


class EpochLines(Callback):
    """Says how each epoch went, as soon as its values are there: when the next one begins, or the fit ends."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._seconds: list[float] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The time of an epoch that is resumed says nothing about a whole one's."""
        self._began, self._seconds = None, []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """The epoch before is over."""
        self._say(trainer, trainer.current_epoch)
        self._began = time.monotonic()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """So is the last one; and who ended the fit early."""
        if not trainer.interrupted:
            self._say(trainer, trainer.current_epoch)
        for callback in trainer.early_stopping_callbacks:
            if callback.stopped_epoch and trainer.should_stop:
                best = f"{float(callback.best_score):.4g}"
                log.info(
                    "EarlyStopping ended the fit after epoch %d: %s was not better than %s for %d checks (patience)",
                    callback.stopped_epoch + 1, callback.monitor, best, callback.wait_count,
                )  # fmt: skip

    def _say(self, trainer: Any, done: int) -> None:
        if self._began is None:
            return
        self._seconds.append(time.monotonic() - self._began)
        self._began = None
        limit = trainer.max_epochs
        count = f"epoch {done} of {limit}" if limit is not None and limit > 0 else f"epoch {done}"
        values = ", ".join(f"{name} {value:.4g}" for name, value in _values(trainer))
        times = [duration(self._seconds[-1]), *_left(trainer, done, self._seconds)]
        has_bar = trainer.progress_bar_callback is not None
        log.info("%s", "; ".join(filter(None, [count, values, *times])), extra={"shown": True} if has_bar else {})


def _values(trainer: Any) -> Iterator[tuple[str, float]]:
    """The losses of an epoch, and what callbacks and schedulers monitor, with their values."""
    values = trainer.callback_metrics
    monitors = [getattr(callback, "monitor", None) for callback in trainer.callbacks]
    monitors += [config.monitor for config in trainer.lr_scheduler_configs if config.reduce_on_plateau]
    losses = [name for name in values if "loss" in name and not name.endswith(("/step", "_step"))]
    totals = [name for name in losses if "/total/" in name] or losses
    epochs = [name for name in totals if f"{name}_epoch" not in values]  # Lightning keeps `loss` beside `loss_epoch`
    for name in [*dict.fromkeys([*epochs, *monitors])][:_MOST]:
        if name in values:
            yield name, float(values[name])


def _left(trainer: Any, done: int, seconds: list[float]) -> Iterator[str]:
    """The time that is left by the epochs so far, the first of which is the slowest; nothing if no end is known."""
    limits = []
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        limits.append(trainer.max_epochs - done)
    batches = trainer.num_training_batches / trainer.accumulate_grad_batches
    if trainer.max_steps > 0 and batches and math.isfinite(batches):
        limits.append((trainer.max_steps - trainer.global_step) / batches)
    left = min(limits, default=0)
    if left > 0 and not trainer.should_stop:
        later = seconds[1:] or seconds
        yield f"{duration(left * sum(later) / len(later))} left"
