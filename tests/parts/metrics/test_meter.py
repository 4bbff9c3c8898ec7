"""The parts that measure, by themselves."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC

from lighter.parts.batches import samples_in
from lighter.parts.metrics.batch_values import BatchValues, StepMetrics
from lighter.parts.metrics.lazy_values import LazyTensor
from lighter.parts.metrics.log_names import optimizer_values
from lighter.parts.metrics.meter import Meter
from lighter.parts.metrics.step_output import sort_output
from tests.jobs import metrics


def test_a_meter_weighs_by_samples_and_starts_afresh() -> None:
    meter = Meter(None)
    for _ in range(2):
        meter.start()
        meter.add({"": torch.tensor(1.0)}, 30)
        meter.add({"": torch.tensor(4.0)}, 10)
        meter.add({}, 0)
        assert meter.new_names() == ["loss"]
        assert meter.new_names() == []
        assert meter.values() == {"loss": torch.tensor(1.75)}
        meter.close()


def test_a_loss_that_appears_late_is_announced_then() -> None:
    meter = Meter(None)
    meter.start()
    meter.add({"total": torch.tensor(1.0)}, 1)
    assert meter.new_names() == ["loss/total"]
    meter.add({"total": torch.tensor(1.0), "aux": torch.tensor(2.0, dtype=torch.bfloat16)}, 1)
    assert meter.new_names() == ["loss/aux"]
    assert meter.values()["loss/aux"].dtype == torch.float32


def test_metrics_that_were_not_updated_are_not_announced() -> None:
    meter = Meter(metrics())
    meter.start()
    assert meter.new_names() == []
    assert meter.values() == {}
    meter.metrics.update(torch.eye(10), torch.arange(10))
    assert meter.new_names() == ["metrics/accuracy", "metrics/f1"]


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        ([torch.zeros(7, 3), torch.zeros(7)], 7),
        ({"x": torch.zeros(5, 2), "name": ["a"] * 5}, 5),
        (torch.zeros(4), 4),
        (torch.tensor(1.0), 1),
        ([{"x": torch.zeros(3)}], 3),
        ("no tensor", None),
        (iter([]), None),
    ],
)
def test_batch_sizes(batch: Any, size: int) -> None:
    assert samples_in(batch) == size


def seen_by_a_step(metrics: Any) -> Any:
    """Metrics in a step whose values are not logged."""
    values = BatchValues(metrics)
    values.wanted = False
    return StepMetrics(values)


def test_a_step_sees_the_metrics_themselves_but_for_their_call() -> None:
    collection = metrics()
    seen = seen_by_a_step(collection)
    assert isinstance(seen, MetricCollection)
    assert not isinstance(seen, MulticlassAccuracy)
    assert seen["accuracy"] is collection["accuracy"]
    assert ("f1" in seen, len(seen), list(seen), seen.prefix) == (True, 2, list(collection), None)
    assert repr(seen) == repr(collection)
    seen.update(torch.eye(10), torch.arange(10))
    seen(torch.eye(10), torch.arange(10))
    assert collection["accuracy"].update_count == 2
    seen.prefix = "val_"
    assert set(collection.compute()) == {"val_accuracy", "val_f1"}
    for other in (copy.deepcopy(seen), pickle.loads(pickle.dumps(seen))):
        other.reset()
    assert collection["accuracy"].update_count == 2
    assert not seen_by_a_step(MetricCollection([]))
    assert type(collection).forward is MetricCollection.forward
    assert "forward" not in vars(collection)


def test_values_that_nobody_reads_are_not_worked_out() -> None:
    computed: list[int] = []

    class Counting(MulticlassAccuracy):
        def compute(self):
            computed.append(1)
            return super().compute()

    metric = Counting(10, average="micro")
    seen = seen_by_a_step(metric)
    late = [seen(torch.eye(10), torch.arange(10)) for _ in range(3)]
    assert computed == []
    assert float(late[0]) == 1.0
    assert float(late[0]) == 1.0
    assert computed == [1]
    assert metric.update_count == 3


def test_a_late_tensor_is_a_tensor_wherever_it_goes() -> None:
    made: list[int] = []

    def make() -> torch.Tensor:
        made.append(1)
        return torch.tensor(3.0)

    late = LazyTensor(make)
    assert made == []
    assert isinstance(late, torch.Tensor)
    assert late.item() == 3.0
    assert (late + 1, 1 + late, -late, late.shape, bool(late > 2)) == (4.0, 4.0, -3.0, torch.Size([]), True)
    assert repr(late) == "tensor(3.)"
    assert copy.deepcopy(late) == 3.0
    assert torch.cat([late[None], late[None]]).tolist() == [3.0, 3.0]
    assert made == [1]


def test_optimizer_values() -> None:
    one, two = nn.Linear(1, 1), nn.Linear(1, 1)
    sgd = torch.optim.SGD([{"params": one.parameters()}, {"params": two.parameters(), "lr": 0.2}], lr=0.1, momentum=0.9)
    values = dict(optimizer_values([sgd]))
    assert values["train/optimizer/SGD/lr/group1/epoch"] == 0.1
    assert values["train/optimizer/SGD/lr/group2/epoch"] == 0.2
    assert values["train/optimizer/SGD/momentum/group1/epoch"] == 0.9
    assert values["train/optimizer/SGD/weight_decay/group2/epoch"] == 0.0
    assert values["train/lr"] == 0.1
    adam = torch.optim.Adam(one.parameters(), betas=(0.8, 0.9))
    assert dict(optimizer_values([adam]))["train/optimizer/Adam/beta1/epoch"] == 0.8
    assert "train/lr" not in dict(optimizer_values([adam, sgd]))


def test_sorting_an_output_keeps_the_graph_for_lightning_only() -> None:
    loss = torch.ones((), requires_grad=True) * 2
    sorted_output = sort_output({"loss": {"total": loss, "a": loss}, "pred": 1}, "training_step", needs_loss=True)
    assert sorted_output.returned["loss"] is loss
    assert not sorted_output.losses["a"].requires_grad
    assert sort_output({"pred": 1}, "test_step", needs_loss=False).losses == {}
    assert sort_output(torch.ones(1), "test_step", needs_loss=False).losses[""].shape == ()


def test_late_values_copy_what_was_gathered_once_only() -> None:
    class Gathering(MulticlassAUROC):
        copies = 0

        def __deepcopy__(self, memo):
            Gathering.copies += 1
            return Gathering(10)

    metric = Gathering(10)
    seen = seen_by_a_step(metric)
    for _ in range(3):
        assert float(seen(torch.eye(10), torch.arange(10))) == 1.0
    assert Gathering.copies == 1
    assert len(metric.preds) == 3


def test_late_values_can_be_sent_to_another_process() -> None:
    collection = metrics()
    sent = pickle.loads(pickle.dumps(seen_by_a_step(collection)(torch.eye(10), torch.arange(10))))
    assert {name: float(value) for name, value in sent.items()} == pytest.approx({"accuracy": 1.0, "f1": 1.0})
