"""What an epoch has measured so far: losses, metrics, values that were logged; in a checkpoint, and back.

Everything here is of one process. Lightning's collection of logged values is private; it keeps no state of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning.trainer.connectors.logger_connector.result import _Metadata, _ResultMetric, _Sync
from torch import Tensor
from torchmetrics import Metric

from lighter.parts.metrics.state import metric_states, to_device
from lighter.parts.plain_tensors import plain_tensor

_SHOWN = {"_callback_metrics": "callback", "_logged_metrics": "log", "_progress_bar_metrics": "pbar"}
_STATES = ("value", "cumulated_batch_size", "_forward_cache")
_OF_META = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx",
            "dataloader_idx", "metric_attribute")  # fmt: skip
_REDUCTIONS: dict[str, Any] = {"mean": torch.mean, "sum": torch.sum, "max": torch.max, "min": torch.min}


def measured(trainer: Any, *, ends_step: bool) -> dict[str, Any]:
    """All that the epoch has measured, on the CPU.

    Args:
        ends_step: whether the last hooks of a training step run, after which Lightning shows its values.
    """
    module, connector = trainer.lightning_module, trainer._logger_connector
    new: Mapping[str, Any] = connector.metrics if ends_step else {}
    own = getattr(module, "measuring_state", None)
    state: dict[str, Any] = _on_cpu(
        {
            "own": own() if own is not None else None,
            "metrics": _metrics(trainer),
            "logged": {key: _logged(item) for key, item in trainer.fit_loop.epoch_loop._results.items()},
            "shown": _shown_before(trainer) or shown(connector, new),
        }
    )
    return state


def take_up(trainer: Any, state: Mapping[str, Any]) -> None:
    """Go on measuring where that was saved, but for the states of metrics."""
    module, connector = trainer.lightning_module, trainer._logger_connector
    if state["own"] is not None:
        module.load_measuring_state(state["own"])
    results = trainer.fit_loop.epoch_loop._results
    for key, saved in state["logged"].items():
        item = _logged_again(trainer, module, saved)
        if item is not None:
            results[key] = item
    show_again(trainer, state)
    connector._first_loop_iter = False  # a value that is logged next adds to the epoch's, and does not begin another


def metrics_of(module: Any, besides: Sequence[Metric] = ()) -> dict[str, Any]:
    """What the metrics in a module have added up, but for those that are begun anew by whatever uses them next."""
    return metric_states(module, besides=[*getattr(module, "idle_metrics", list)(), *besides])


def _metrics(trainer: Any) -> Mapping[str, Any]:
    """As they go on: a validation that is not over is run again; after one, Lightning resets those that it logged."""
    validation: Any = trainer.fit_loop.epoch_loop.val_loop
    if not trainer.validating:
        return metrics_of(trainer.lightning_module)
    if validation.is_run_again:
        before: Mapping[str, Any] = validation.metrics_before
        return before
    logged = [item.value for item in validation._results.values() if not item.is_tensor]
    parts = [part for metric in logged for part in metric.modules() if isinstance(part, Metric)]
    return metrics_of(trainer.lightning_module, besides=parts)


def shown(connector: Any, new: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The values that callbacks, loggers and the progress bar see, and new ones of each kind."""
    return {name: {**getattr(connector, name), **new.get(kind, {})} for name, kind in _SHOWN.items()}


def _shown_before(trainer: Any) -> Mapping[str, Any]:
    """Values shown when the validation began that will be run again."""
    validation: Any = trainer.fit_loop.epoch_loop.val_loop
    before: Mapping[str, Any] = validation.shown_before if validation.is_run_again else {}
    return before


def show_again(trainer: Any, state: Mapping[str, Any]) -> None:
    """The values that callbacks and the progress bar see."""
    for name in _SHOWN:
        getattr(trainer._logger_connector, name).update(state["shown"][name])


def _logged(item: _ResultMetric) -> dict[str, Any]:
    meta = item.meta
    return {
        "meta": {name: getattr(meta, name) for name in _OF_META},
        "reduction": next((name for name, function in _REDUCTIONS.items() if function is meta.reduce_fx), None),
        "sync": {"should": meta.sync.should, "rank_zero_only": meta.sync.rank_zero_only},
        "is_tensor": item.is_tensor,
        "has_reset": item.has_reset,
        "is_updated": item._update_count > 0,
        "states": {name: getattr(item, name, None) for name in _STATES if item.is_tensor or name == "_forward_cache"},
        "defaults": dict(item._defaults),  # of the default type that it was made with, that of `64-true` in a step
    }


def _logged_again(trainer: Any, module: Any, saved: Mapping[str, Any]) -> _ResultMetric | None:
    """A logged value as Lightning keeps it; None where what was logged cannot be found again."""
    if saved["reduction"] is None:
        return None
    meta = _Metadata(**saved["meta"], reduce_fx=_REDUCTIONS[saved["reduction"]])
    meta.sync = _Sync(fn=trainer.strategy.reduce, _should=saved["sync"]["should"],
                      rank_zero_only=saved["sync"]["rank_zero_only"])  # fmt: skip
    item = _ResultMetric(meta, saved["is_tensor"])
    item._defaults.update(saved.get("defaults", {}))
    item.to(module.device)
    if not saved["is_tensor"]:
        value = _metric_called(module, meta.metric_attribute)
        if value is None:
            return None
        item.value = value
    for name, value in saved["states"].items():
        if value is not None:
            setattr(item, name, to_device(value, module.device))
    item.has_reset, item._update_count = saved["has_reset"], int(saved["is_updated"])
    return item


def _metric_called(module: Any, name: str | None) -> Metric | None:
    own: Mapping[str, Metric] = getattr(module, "epoch_values", dict)()
    found = own.get(name or "") or dict(module.named_modules()).get(name)
    return found if isinstance(found, Metric) else None


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return plain_tensor(value).cpu().clone()
    if isinstance(value, Mapping):
        return {key: _on_cpu(item) for key, item in value.items()}
    return [_on_cpu(item) for item in value] if isinstance(value, (list, tuple)) else value
