"""The private names of torchmetrics that Lighter reads and sets, each with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities import dim_zero_sum
from torchmetrics.wrappers import BootStrapper, MinMaxMetric

_UNNAMED = (BootStrapper, MinMaxMetric)  # whose values are called `mean`, `min`, ..., whatever they wrap


class NamedMetrics(MetricCollection):
    """A collection in which the values of each wrapper begin with its key, and not only where two of them collide."""

    # private, as nothing public tells whose a value is
    def _compute_and_reduce(self, method_name: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        members = dict(self.items(keep_base=True, copy_state=False))
        if not any(isinstance(metric, _UNNAMED) for metric in members.values()):
            return super()._compute_and_reduce(method_name, *args, **kwargs)
        results = {
            key: metric.compute() if method_name == "compute" else metric(*args, **metric._filter_kwargs(**kwargs))
            for key, metric in members.items()
        }
        inner = [name for result in results.values() if isinstance(result, dict) for name in result]
        values: dict[str, Any] = {}
        for key, result in results.items():
            for name, value in result.items() if isinstance(result, dict) else ():
                is_alone = inner.count(name) == 1 and name not in results and not isinstance(members[key], _UNNAMED)
                values[name if is_alone else f"{key}_{name}"] = value
            if not isinstance(result, dict):
                values[key] = result
        return {self._set_name(name): value for name, value in values.items()}


def compute_for_batch(metric: Metric) -> None:
    """Set what torchmetrics sets while it computes the value of one batch: gradients, and no synchronization."""
    metric._enable_grad, metric._to_sync, metric._should_unsync = True, metric.dist_sync_on_step, False
    metric.compute_on_cpu = False


def update_state(metric: Metric) -> tuple[int, Any]:
    """Return how often a metric was updated, and its cached value."""
    return metric._update_count, metric._computed


def set_update_count(metric: Metric, count: int, computed: Any = None) -> None:
    """Tell a metric how often it was updated, and its cached value."""
    # nothing public sets them
    metric._update_count, metric._computed = count, computed


def batch_value(metric: Metric) -> Any:
    """Return the value of the batch that a metric was last called with, which `self.log` logs."""
    # as below, without the attribute: of a metric whose updates wait, that would compute them
    return object.__getattribute__(metric, "__dict__")["_forward_cache"]


def set_batch_value(metric: Metric, value: Any) -> None:
    """Set the value of the batch that a metric was last called with; `forward` alone sets it."""
    object.__getattribute__(metric, "__dict__")["_forward_cache"] = value


def is_grouped(collection: MetricCollection) -> bool:
    # torchmetrics forms the groups in the first update
    return bool(collection._groups_checked)


def states_of(metric: Metric) -> list[Any]:
    """Return the states of a metric, in their order."""
    # nothing public lists them
    return [getattr(metric, name) for name in metric._reductions]


def is_summed_over_processes(metric: Metric) -> bool:
    """Return whether torchmetrics itself would sum each state of a metric over all processes."""
    return (
        # otherwise torchmetrics leaves the states alone, has exchanged them, or does so in the user's way
        metric._to_sync
        and not metric._is_synced
        and metric.dist_sync_fn is None
        and metric.process_group is None
        and all(reduction is dim_zero_sum for reduction in metric._reductions.values())
    )


def may_group(collection: MetricCollection) -> bool:
    """Return whether a collection will form compute groups, and has not done so."""
    return collection._enable_compute_groups is True and not collection._groups_checked


def set_groups(collection: MetricCollection, groups: Sequence[Sequence[str]]) -> None:
    """Set the compute groups."""
    # the constructor's public argument comes too early where a collection is given
    collection._enable_compute_groups = [list(group) for group in groups]
    collection._init_compute_groups()


def has_formed_groups(collection: MetricCollection) -> bool:
    """Return whether a collection has its compute groups."""
    # torchmetrics forms them by what the first update adds
    return not collection._enable_compute_groups or collection._groups_checked
