"""Losses, metrics and logged values that an epoch of one process has accumulated, as plain data and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypedDict, cast

import pytorch_lightning as pl
from torch import Tensor
from torchmetrics import Metric

from lighter._lightning.results import (
    Shown,
    collect_again,
    collected_values,
    metrics_reset_after,
    show_values,
    shown_next,
)
from lighter._lightning.results import shown as shown  # which the loops call
from lighter.parts.metrics.state import metric_states
from lighter.parts.plain_tensors import plain_tensor


class Validation(Protocol):
    """The loop of a validation within a fit."""

    metrics_before: Mapping[str, Any]
    shown_before: Shown

    @property
    def is_run_again(self) -> bool: ...


class EpochResults(TypedDict):
    """The accumulated values of an epoch, on the CPU."""

    own: Mapping[str, Any] | None  # the state of a module of ours
    metrics: Mapping[str, Any]  # the states of the module's metrics, by name
    logged: Mapping[str, Any]  # what `self.log` has collected, by Lightning's key
    shown: Shown  # the values that callbacks, loggers and the progress bar see


def measured(trainer: pl.Trainer, *, ends_step: bool) -> EpochResults:
    """Return all that the epoch has accumulated; `ends_step` while the last hooks of a training step run."""
    validation: Validation = cast(Any, trainer.fit_loop.epoch_loop.val_loop)
    own = getattr(trainer.lightning_module, "measuring_state", None)
    before = validation.shown_before if validation.is_run_again else {}
    if trainer.validating and validation.is_run_again:
        # a validation that is not over is run again from its start, with the states of then
        metrics = validation.metrics_before
    else:
        metrics = metrics_of(trainer.lightning_module, metrics_reset_after(validation) if trainer.validating else ())
    results = {
        "own": own() if own is not None else None,
        "metrics": metrics,
        "logged": collected_values(trainer),
        "shown": before or shown_next(trainer, ends_step=ends_step),
    }
    return cast(EpochResults, _on_cpu(results))


def take_up(trainer: pl.Trainer, results: EpochResults) -> None:
    # but for the states of metrics, which are restored after `on_train_start`
    module: Any = trainer.lightning_module
    if results["own"] is not None:
        module.load_measuring_state(results["own"])
    values = {**dict(module.named_modules()), **getattr(module, "epoch_values", dict)()}

    def find_metric(name: str) -> Metric | None:
        metric = values.get(name)
        return metric if isinstance(metric, Metric) else None

    collect_again(trainer, results["logged"], find_metric)
    show_values(trainer, results["shown"])


def metrics_of(module: pl.LightningModule, besides: Sequence[Metric] = ()) -> dict[str, Any]:
    # idle ones are reset before they are used next
    return metric_states(module, besides=[*getattr(module, "idle_metrics", list)(), *besides])


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return plain_tensor(value).cpu().clone()
    if isinstance(value, Mapping):
        return {key: _on_cpu(item) for key, item in value.items()}
    return [_on_cpu(item) for item in value] if isinstance(value, (list, tuple)) else value
