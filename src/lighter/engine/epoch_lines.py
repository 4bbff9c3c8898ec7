"""A line per epoch for `run.log`, and for a terminal that has no progress bar: losses, monitored values, time."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator

import pytorch_lightning as pl
from pytorch_lightning import Callback, LightningModule

from lighter._lightning.metric_values import is_array
from lighter.processes.events import publish
from lighter.runs.log import duration

log = logging.getLogger("lighter.runs")

_MOST = 6  # values


class EpochLines(Callback):
    """Log how each epoch went, as soon as its values are there: when the next one begins, or the fit ends."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._seconds: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        # The time of an epoch that is resumed says nothing about a whole one's.
        self._began, self._seconds = None, []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self._log(trainer)
        self._began = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        if not trainer.interrupted:
            self._log(trainer)
        # A fit that is shorter than asked for should say who ended it.
        for callback in trainer.early_stopping_callbacks:
            if callback.stopped_epoch and trainer.should_stop:
                best = f"{float(callback.best_score):.4g}"
                log.info(
                    "EarlyStopping ended the fit after epoch %d: %s was not better than %s for %d checks (patience)",
                    callback.stopped_epoch + 1, callback.monitor, best, callback.wait_count,
                )  # fmt: skip

    def _log(self, trainer: pl.Trainer) -> None:
        if self._began is None:
            return
        self._seconds.append(time.monotonic() - self._began)
        self._began = None
        publish(
            "epoch",
            epoch=trainer.current_epoch,
            step=trainer.global_step,
            metrics=values_of_epochs(trainer),
            seconds=round(self._seconds[-1], 3),
        )
        done, limit = trainer.current_epoch, trainer.max_epochs
        count = f"epoch {done} of {limit}" if limit is not None and limit > 0 else f"epoch {done}"
        values = ", ".join(f"{name} {value:.4g}" for name, value in _values(trainer))
        left = _seconds_left(trainer, self._seconds)
        times = [duration(self._seconds[-1]), f"{duration(left)} left" if left > 0 else ""]
        # A progress bar shows the values already.
        has_bar = trainer.progress_bar_callback is not None
        log.info("%s", "; ".join(filter(None, [count, values, *times])), extra={"shown": True} if has_bar else {})


def _values(trainer: pl.Trainer) -> Iterator[tuple[str, float]]:
    values = {name: value for name, value in trainer.callback_metrics.items() if not is_array(value)}
    monitors = [getattr(callback, "monitor", None) for callback in trainer.callbacks]  # type: ignore[attr-defined]
    monitors += [config.monitor for config in trainer.lr_scheduler_configs if config.reduce_on_plateau]
    losses = [name for name in values if "loss" in name and not name.endswith(("/step", "_step"))]
    totals = [name for name in losses if "/total/" in name] or losses
    # Lightning keeps `loss` beside `loss_epoch`.
    epochs = [name for name in totals if f"{name}_epoch" not in values]
    for name in [*dict.fromkeys([*epochs, *monitors])][:_MOST]:
        if name in values:
            yield name, float(values[name])


def values_of_epochs(trainer: pl.Trainer) -> dict[str, float]:
    """Return the last value of each metric that is one number, without those of single steps."""
    values = trainer.callback_metrics.items()
    return {name: float(value) for name, value in values if not is_array(value) and not name.endswith("/step")}


def _seconds_left(trainer: pl.Trainer, seconds: list[float]) -> float:
    # By the epochs so far, the first of which is the slowest; 0 if no end is known.
    limits = []
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        limits.append(float(trainer.max_epochs - trainer.current_epoch))
    batches = trainer.num_training_batches / trainer.accumulate_grad_batches
    if trainer.max_steps > 0 and batches and math.isfinite(batches):
        limits.append((trainer.max_steps - trainer.global_step) / batches)
    epochs = min(limits, default=0.0)
    typical = seconds[1:] or seconds
    return epochs * sum(typical) / len(typical) if epochs > 0 and not trainer.should_stop else 0.0
