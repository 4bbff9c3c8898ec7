"""What metrics have added up is saved as plain data, and they go on from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MaxMetric, MeanMetric, MeanSquaredError, MetricCollection, RunningMean
from torchmetrics.classification import BinaryAUROC, MulticlassAccuracy
from torchmetrics.wrappers import (
    BootStrapper,
    ClasswiseWrapper,
    MetricTracker,
    MinMaxMetric,
    MultioutputWrapper,
    Running,
)

from lighter.parts.metrics.state import load_metric_states, metric_states

STEPS, CUT = 6, 4


def updated(metric: Any, values: Tensor) -> None:
    metric.update(values)


def called(metric: Any, values: Tensor) -> None:
    metric(values)


def tracked(tracker: Any, values: Tensor) -> None:
    tracker.increment()
    tracker.update(values)


def classified(metric: Any, values: Tensor) -> None:
    metric.update(values, torch.arange(4) % 3)


def told_apart(metric: Any, values: Tensor) -> None:
    metric.update(values[:, 0].sigmoid(), torch.arange(4) % 2)


def compared(metric: Any, values: Tensor) -> None:
    metric.update(values, torch.ones(4, 3))


def anew(metric: Any, values: Tensor) -> None:
    metric.reset()
    metric.update(values)


KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any, Tensor], Any]]] = {
    "a mean": (MeanMetric, updated),
    "a list of all": (BinaryAUROC, told_apart),
    "a collection": (lambda: MetricCollection({"mean": MeanMetric(), "max": MaxMetric()}), updated),
    "a running mean": (lambda: RunningMean(3), updated),
    "a running mean that is called": (lambda: Running(MeanMetric(), 3), called),
    "extremes": (lambda: MinMaxMetric(MeanMetric()), updated),
    "extremes, reset at each step": (lambda: MinMaxMetric(MeanMetric()), anew),
    "a tracker": (lambda: MetricTracker(MeanMetric(), maximize=True), tracked),
    "samples of samples": (lambda: BootStrapper(MeanMetric(), num_bootstraps=3), updated),
    "by class": (lambda: ClasswiseWrapper(MulticlassAccuracy(3, average=None)), classified),
    "several outputs": (lambda: MultioutputWrapper(MeanSquaredError(), 3), compared),
}


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")  # of Running, which does not count
@pytest.mark.parametrize("kind", KINDS)
def test_metrics_go_on_from_their_states(own_place: Any, kind: str) -> None:
    make, use = KINDS[kind]
    whole, goes_on = nn.Module(), nn.Module()
    whole.metric, goes_on.metric = make(), make()
    values = (
        torch.randn(STEPS, 4, 3, generator=torch.Generator().manual_seed(2))
        + torch.arange(STEPS, 0.0, -1)[:, None, None]
    )
    for step in range(STEPS):
        if step == CUT:
            torch.save(metric_states(whole), "states.pt")
            load_metric_states(goes_on, torch.load("states.pt", weights_only=True))
        for one in (whole, goes_on)[: 1 if step < CUT else 2]:
            torch.manual_seed(step)
            use(one.metric, values[step])
            result = value_of(one.metric)
        if step >= CUT:
            torch.testing.assert_close(result, value_of(whole.metric), rtol=0, atol=0)


def value_of(metric: Any) -> Any:
    return metric.compute_all() if isinstance(metric, MetricTracker) else metric.compute()


def test_a_tracker_where_a_metric_was_begins_anew() -> None:
    before, now = MetricTracker(MeanMetric(), maximize=True), MeanMetric()
    tracked(before, torch.ones(2))
    now.update(torch.ones(2))
    for one, other in ((before, MeanMetric()), (now, MetricTracker(MeanMetric(), maximize=True))):
        load_metric_states(nn.ModuleDict({"it": other}), metric_states(nn.ModuleDict({"it": one})))
        assert (other.n_steps if isinstance(other, MetricTracker) else other.update_count) == 0


def test_states_stay_as_they_were() -> None:
    module = nn.Module()
    module.metric = MulticlassAccuracy(3)
    classified(module.metric, torch.eye(4, 3))
    before = metric_states(module)
    classified(module.metric, torch.eye(4, 3))
    assert before["metric"]["states"]["tp"].sum() == 4
    assert metric_states(module)["metric"]["states"]["tp"].sum() == 8


def test_of_a_metric_that_is_reset_what_outlives_it_is_kept() -> None:
    module = nn.ModuleDict({"mean": MeanMetric(), "extremes": MinMaxMetric(MeanMetric())})
    for metric in module.values():
        metric.update(torch.tensor(3.0))
        metric.compute()
    left_out = [module["mean"], *module["extremes"].modules()]
    assert metric_states(module, besides=left_out) == {
        "extremes": {"updates": 0, "states": {"min_val": torch.tensor(3.0), "max_val": torch.tensor(3.0)}}
    }
