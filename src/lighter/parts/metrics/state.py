"""States of metrics as plain data, and back: torchmetrics keeps them out of `state_dict`.

Metrics in plain lists, dicts and objects of a module belong to it. Attributes beside the states, the best value so far
say, are restored by `unchanged`.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.wrappers import MetricTracker, MinMaxMetric, Running

from lighter._lightning.metrics import set_update_count
from lighter.parts.holders import held_modules, holders
from lighter.parts.metrics.foreign import ForeignMetric, has_methods, without_foreign
from lighter.parts.metrics.lazy_values import LazyTensor

_MAPPINGS, _LISTS = (dict, OrderedDict, defaultdict), (list, set, deque)


def metric_states(root: nn.Module, besides: Collection[Metric] = ()) -> dict[str, Any]:
    """Return the accumulated states of the metrics in a module, by name; in `besides`, what outlives a reset."""
    # by identity, as the hash of a metric depends on its states, and its `==` gives another metric
    are_reset = set(map(id, besides))
    states: dict[str, Any] = {
        name: {"steps": tracker.n_steps, "updates": 0, "states": {}} for name, tracker in _trackers(root)
    }
    for name, metric in _metrics(root):
        is_reset = id(metric) in are_reset
        values = {key: getattr(metric, key) for key in _keys(metric, is_reset)}
        # metrics add to a tensor in place, and append other tensors to a list
        state = {
            key: value.clone() if isinstance(value, Tensor) else list(value) if isinstance(value, list) else value
            for key, value in values.items()
        }
        if state or (isinstance(metric, ForeignMetric) and metric.update_count and not is_reset):
            states[name] = {"updates": 0 if is_reset else metric.update_count, "states": state}
    return states


def load_metric_states(root: nn.Module, states: Mapping[str, Any]) -> None:
    """Restore the states of the metrics in a module; names that it does not have are left out."""
    for name, tracker in _trackers(root):
        # a tracker makes its metrics by itself, one for each of its steps
        while tracker.n_steps < states.get(name, {}).get("steps", 0):
            tracker.increment()
    metrics = dict(_metrics(root))
    for name in states.keys() & metrics.keys():
        metric, saved = metrics[name], states[name]
        for key, value in saved["states"].items():
            setattr(metric, key, to_device(value, metric.device))
        set_update_count(metric, saved["updates"])


def metrics_in(root: nn.Module) -> list[Any]:
    """Return the metrics in a module: torchmetrics', and objects of any other class with a metric's methods."""
    # the object in a `ForeignMetric` is reached by itself
    return [one for _, one in holders(root) if has_methods(one) and not isinstance(one, ForeignMetric)]


@contextmanager
def unchanged(metrics: Iterable[Any]) -> Iterator[None]:
    """Restore the attributes of these metrics afterwards, with the same list and dict objects."""
    metrics = list(metrics)
    # an object of another library is of any class, and so nothing may reach it meanwhile
    with without_foreign(metrics), ExitStack() as undo:
        having = [one for one in metrics if hasattr(one, "__dict__")]
        for one in having:
            undo.callback(_remembered(vars(one), {}))
        for one in having:
            undo.callback(vars, one)  # before: updates that wait (`pending_updates.py`) are computed, to be undone too
        yield


def _remembered(value: object, seen: dict[int, Callable[[], Any]]) -> Callable[[], Any]:
    """Remember a value and its content; return a function that restores the content and returns the value."""
    if id(value) not in seen:
        seen[id(value)] = lambda: value  # while it is looked into: it may hold itself
        seen[id(value)] = _remember(value, seen)
    return seen[id(value)]


def _remember(value: Any, seen: dict[int, Callable[[], Any]]) -> Callable[[], Any]:
    if isinstance(value, Tensor) and type(value) is not LazyTensor and not isinstance(value, nn.Parameter):
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


def to_device(value: object, device: torch.device) -> Any:
    if isinstance(value, list):
        return [to_device(item, device) for item in value]
    return value.to(device) if isinstance(value, Tensor) else value


def _trackers(root: nn.Module) -> list[tuple[str, MetricTracker]]:
    return [(name, module) for name, module in held_modules(root) if isinstance(module, MetricTracker)]


def _keys(metric: Metric, is_reset: bool) -> list[str]:
    """Name the attributes that hold state."""
    # some of torchmetrics' wrappers hold state beside their states
    extremes = ["min_val", "max_val"] if isinstance(metric, MinMaxMetric) else []
    if is_reset:
        return extremes
    window = ["_num_vals_seen"] if isinstance(metric, Running) else []  # it does not count its updates
    return [*extremes, *window, *(metric.metric_state if metric.update_count or window else ())]


def _metrics(root: nn.Module) -> Iterator[tuple[str, Metric]]:
    modules = list(held_modules(root))
    for _, module in modules:
        if isinstance(module, MetricCollection):
            module.values(copy_state=False)  # members of a compute group get the state that they share
    for name, module in modules:
        if isinstance(module, Metric):
            yield name, module
