"""The values that `self.log` has collected in a training epoch as plain data, and back; and the values that are shown.

Lightning's collection of logged values is private, and keeps no state of its own in checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device
from torchmetrics import Metric

from lighter._lightning.versions import IS_TESTED

if TYPE_CHECKING or IS_TESTED:  # the functions below are called by nobody else
    from pytorch_lightning.trainer.connectors.logger_connector.result import _Metadata, _ResultMetric, _Sync

# where the connector has the values that callbacks, loggers and the progress bar see
SHOWN = {"_callback_metrics": "callback", "_logged_metrics": "log", "_progress_bar_metrics": "pbar"}
_STATES = ("value", "cumulated_batch_size", "_forward_cache")
_OF_META = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx",
            "dataloader_idx", "metric_attribute")  # fmt: skip
REDUCTIONS: dict[str, Any] = {"mean": torch.mean, "sum": torch.sum, "max": torch.max, "min": torch.min}

Shown = dict[str, dict[str, Any]]  # by kind and name


def shown(connector: Any, new: Mapping[str, Any]) -> Shown:
    """Return the values that callbacks, loggers and the progress bar see, and new ones of each kind."""
    # our connector copies a step's values late; see `LoggerConnector`
    connector.read_step()
    return {name: {**getattr(connector, name), **new.get(kind, {})} for name, kind in SHOWN.items()}


def shown_next(trainer: pl.Trainer, *, ends_step: bool) -> Shown:
    """Return the values that are shown, or will be once the last hooks of a training step were called."""
    connector = trainer._logger_connector
    return shown(connector, connector.metrics if ends_step else {})


def show_values(trainer: pl.Trainer, shown: Shown) -> None:
    """Let callbacks, loggers and the progress bar see values."""
    for name in SHOWN:
        getattr(trainer._logger_connector, name).update(shown[name])


def row_of_step(trainer: pl.Trainer) -> Mapping[str, torch.Tensor]:
    """Return the values that the loggers are given once the hooks of a training step are over; none if none is due."""
    connector = trainer._logger_connector
    accumulates = trainer.fit_loop._should_accumulate() and trainer.lightning_module.automatic_optimization
    is_due = connector.should_update_logs or trainer.fast_dev_run  # type: ignore[attr-defined]
    return connector.metrics["log"] if is_due and not accumulates else {}


def metrics_reset_after(loop: Any) -> list[Metric]:
    """Return the metrics that an evaluation loop has logged, and resets when it is over."""
    logged = [item.value for item in loop._results.values() if not item.is_tensor]
    return [part for metric in logged for part in metric.modules() if isinstance(part, Metric)]


def collected_values(trainer: pl.Trainer) -> dict[str, Any]:
    """Return what the training epoch has collected of each logged value."""
    return {key: _to_plain(item, item.meta) for key, item in trainer.fit_loop.epoch_loop._results.items()}


def _to_plain(item: _ResultMetric, meta: _Metadata) -> dict[str, Any]:
    return {
        "meta": {name: getattr(meta, name) for name in _OF_META},
        "reduction": next((name for name, function in REDUCTIONS.items() if function is meta.reduce_fx), None),
        "sync": {"should": meta.sync.should, "rank_zero_only": meta.sync.rank_zero_only},
        "is_tensor": item.is_tensor,
        "has_reset": item.has_reset,
        "is_updated": item._update_count > 0,
        "states": {name: getattr(item, name, None) for name in _STATES if item.is_tensor or name == "_forward_cache"},
        "defaults": dict(item._defaults),  # of the default type that it was made with, that of `64-true` in a step
    }


def collect_again(trainer: pl.Trainer, values: Mapping[str, Any], find_metric: Callable[[str], Metric | None]) -> None:
    """Resume collecting what `collected_values` returned; `find_metric` finds a metric by its name in the module."""
    for key, saved in values.items():
        item = _from_plain(trainer, saved, find_metric)
        if item is not None:
            trainer.fit_loop.epoch_loop._results[key] = item
    # a value that is logged next adds to the epoch's, and does not begin another
    trainer._logger_connector._first_loop_iter = False


def _from_plain(
    trainer: pl.Trainer, saved: Mapping[str, Any], find_metric: Callable[[str], Metric | None]
) -> _ResultMetric | None:
    """Return a logged value as Lightning keeps it; None if its metric or its reduction cannot be found."""
    if saved["reduction"] is None:
        return None
    device = trainer.lightning_module.device
    meta = _Metadata(**saved["meta"], reduce_fx=REDUCTIONS[saved["reduction"]])
    meta.sync = _Sync(fn=trainer.strategy.reduce, _should=saved["sync"]["should"],
                      rank_zero_only=saved["sync"]["rank_zero_only"])  # fmt: skip
    item = _ResultMetric(meta, saved["is_tensor"])
    item._defaults.update(saved.get("defaults", {}))  # not in checkpoints of earlier versions
    item.to(device)
    if not saved["is_tensor"]:
        metric = find_metric(meta.metric_attribute or "")
        if metric is None:
            return None
        item.value = metric
    for name, value in saved["states"].items():
        if value is not None:
            setattr(item, name, move_data_to_device(value, device))
    item.has_reset, item._update_count = saved["has_reset"], int(saved["is_updated"])
    return item
