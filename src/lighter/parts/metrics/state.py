"""States of metrics as plain data, and back: torchmetrics keeps them out of `state_dict`.

Metrics in plain lists, dicts and objects of a module count as its own. Whatever a metric keeps elsewhere, the best
value so far say, is put back by `unchanged`.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.wrappers import MetricTracker, MinMaxMetric, Running

from lighter.parts.holders import held_modules, holders
from lighter.parts.metrics.foreign import ForeignMetric, has_methods, without_foreign

_MAPPINGS, _LISTS = (dict, OrderedDict, defaultdict), (list, set, deque)


def metric_states(root: nn.Module, besides: Collection[Metric] = ()) -> dict[str, Any]:
    """What the metrics in a module have added up until now, by their names in it, as far as there is any.

    Args:
        besides: metrics that are reset before they are used next; only what outlives that is of interest.
    """
    are_reset = set(map(id, besides))
    states: dict[str, Any] = {
        name: {"steps": tracker.n_steps, "updates": 0, "states": {}} for name, tracker in _trackers(root)
    }
    for name, metric in _metrics(root):
        is_reset = id(metric) in are_reset
        held = {key: _kept(getattr(metric, key)) for key in _keys(metric, is_reset)}
        if held or (isinstance(metric, ForeignMetric) and metric.update_count and not is_reset):
            states[name] = {"updates": 0 if is_reset else metric.update_count, "states": held}
    return states


def load_metric_states(root: nn.Module, states: Mapping[str, Any]) -> None:
    """Let the metrics in a module go on from there; names that it does not have are left out."""
    for name, tracker in _trackers(root):
        while tracker.n_steps < states.get(name, {}).get("steps", 0):
            tracker.increment()
    found = dict(_metrics(root))
    for name in states.keys() & found.keys():
        metric, saved = found[name], states[name]
        for key, value in saved["states"].items():
            setattr(metric, key, to_device(value, metric.device))
        # private: torchmetrics counts its updates, and has no other way to be told of them
        metric._update_count, metric._computed = saved["updates"], None


def metrics_in(root: nn.Module) -> list[Any]:
    """The metrics in a module: of torchmetrics, and objects of any other class that has the methods of one."""
    found = [one for _, one in holders(root) if has_methods(one)]
    return [one for one in found if not isinstance(one, ForeignMetric)]  # their objects are found by themselves


@contextmanager
def unchanged(metrics: Iterable[Any]) -> Iterator[None]:
    """Put back afterwards what these metrics have in their attributes, each list and dict of them being the same.

    What is done to a `ForeignMetric` meanwhile does not reach the object of another library.
    """
    metrics = list(metrics)
    with without_foreign(metrics):
        restore = [_remembered(vars(one), {}) for one in metrics if hasattr(one, "__dict__")]
        try:
            yield
        finally:
            for put_back in restore:
                put_back()


def _remembered(value: Any, seen: dict[int, Callable[[], Any]]) -> Callable[[], Any]:
    """Remember a value, and what is in it. Returns what puts that back, and returns the value."""
    if id(value) not in seen:
        seen[id(value)] = lambda: value  # while it is looked into: it may hold itself
        seen[id(value)] = _remember(value, seen)
    return seen[id(value)]


def _remember(value: Any, seen: dict[int, Callable[[], Any]]) -> Callable[[], Any]:
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        copy = value.detach().clone()
        return lambda: copy
    if type(value) in _MAPPINGS:
        pairs = [(key, _remembered(item, seen)) for key, item in value.items()]
        return lambda: _filled(value, value.update, [(key, item()) for key, item in pairs])
    if type(value) in _LISTS:  # a list of tensors grows, and none of them changes
        items = [item if isinstance(item, Tensor) else _remembered(item, seen) for item in value]
        add = value.update if type(value) is set else value.extend
        return lambda: _filled(value, add, [item if isinstance(item, Tensor) else item() for item in items])
    return lambda: value


def _filled(container: Any, fill: Callable[[Any], Any], content: list[Any]) -> Any:
    container.clear()
    fill(content)
    return container


def to_device(value: Any, device: torch.device) -> Any:
    """A tensor or a list of them on a device; anything else as it is."""
    if isinstance(value, list):
        return [to_device(item, device) for item in value]
    return value.to(device) if isinstance(value, Tensor) else value


def _kept(state: Any) -> Any:
    """A state that stays as it is: metrics add to a tensor in place, and to a list other tensors."""
    return state.clone() if isinstance(state, Tensor) else list(state) if isinstance(state, list) else state


def _trackers(root: nn.Module) -> list[tuple[str, MetricTracker]]:
    return [(name, module) for name, module in held_modules(root) if isinstance(module, MetricTracker)]


def _keys(metric: Metric, is_reset: bool) -> list[str]:
    """Where a metric holds something; private in part, as torchmetrics' wrappers hold some beside their states."""
    extremes = ["min_val", "max_val"] if isinstance(metric, MinMaxMetric) else []
    if is_reset:
        return extremes
    window = ["_num_vals_seen"] if isinstance(metric, Running) else []  # it does not count its updates
    return [*extremes, *window, *(metric.metric_state if metric.update_count or window else ())]


def _metrics(root: nn.Module) -> Iterator[tuple[str, Metric]]:
    found = list(held_modules(root))
    for _, module in found:
        if isinstance(module, MetricCollection):
            module.values(copy_state=False)  # members of a compute group get the state that they share
    for name, module in found:
        if isinstance(module, Metric):
            yield name, module
