"""What metrics have added up so far, as plain data, and back: torchmetrics keeps that out of `state_dict`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection


def metric_states(root: nn.Module, besides: Collection[Metric] = ()) -> dict[str, Any]:
    """What the metrics in a module have added up until now, by their names in it; only of those that were updated."""
    return {
        name: {
            "updates": metric.update_count,
            "states": {key: _kept(value) for key, value in metric.metric_state.items()},
        }
        for name, metric in _metrics(root, besides)
        if metric.update_count
    }


def load_metric_states(root: nn.Module, states: Mapping[str, Any]) -> None:
    """Let the metrics in a module go on from there; names that it does not have are left out."""
    found = dict(_metrics(root, ()))
    for name in states.keys() & found.keys():
        metric, saved = found[name], states[name]
        for key, value in saved["states"].items():
            setattr(metric, key, to_device(value, metric.device))
        # private: torchmetrics counts its updates, and has no other way to be told of them
        metric._update_count, metric._computed = saved["updates"], None


def to_device(value: Any, device: torch.device) -> Any:
    """A tensor or a list of them on a device; anything else as it is."""
    if isinstance(value, list):
        return [to_device(item, device) for item in value]
    return value.to(device) if isinstance(value, Tensor) else value


def _kept(state: Any) -> Any:
    """A state that stays as it is: metrics add to a tensor in place, and to a list other tensors."""
    return state.clone() if isinstance(state, Tensor) else list(state) if isinstance(state, list) else state


def _metrics(root: nn.Module, besides: Collection[Metric]) -> Iterator[tuple[str, Metric]]:
    left_out = set(map(id, besides))
    for module in root.modules():
        if isinstance(module, MetricCollection):
            module.values(copy_state=False)  # members of a compute group get the state that they share
    for name, module in root.named_modules():
        if isinstance(module, Metric) and id(module) not in left_out:
            yield name, module
