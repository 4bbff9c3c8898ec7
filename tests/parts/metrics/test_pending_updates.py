"""Updates that wait are made as soon as anybody looks, or as they would not be the same."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.aggregation import MeanMetric
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryConfusionMatrix,
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MultilabelAUROC,
    MultilabelF1Score,
)

from lighter._lightning.metrics import NamedMetrics
from lighter.parts.metrics import pending_updates
from lighter.parts.metrics.integer_sums import MAX_BYTES
from lighter.parts.metrics.pending_updates import MAX_UPDATES, PendingUpdates
from lighter.parts.metrics.state import unchanged
from tests.parts.metrics.pending import CLASSES, LABELS, SIZES, TASKS, batches, check, make, same


def waiting(metric: Any, data: list[Any]) -> PendingUpdates:
    """A metric for which all updates but the first wait."""
    pending = PendingUpdates(metric)
    for number, batch in enumerate(data):
        pending.batch = number
        pending.update(batch, {})
    assert "_lighter_pending" in object.__getattribute__(metric, "__dict__")
    return pending


def plain() -> MetricCollection:
    return NamedMetrics({"accuracy": MulticlassAccuracy(CLASSES), "matrix": MulticlassConfusionMatrix(CLASSES)})


class Holder(nn.Module):
    def __init__(self, metric: Any) -> None:
        super().__init__()
        self.metric = metric


TOUCHES: dict[str, Callable[[Any], Any]] = {
    "compute": lambda metric: metric.compute(),
    "states": lambda metric: metric.metric_state,
    "a member": lambda metric: next(iter(metric.values())).tp,
    "state_dict": lambda metric: Holder(metric).state_dict(),
    "sync": lambda metric: next(iter(metric.values())).sync(),
    "to": lambda metric: metric.to("cpu"),
    "double": lambda metric: metric.set_dtype(torch.float64),
    "clone": lambda metric: metric.clone(),
    "a deep copy": lambda metric: copy.deepcopy(Holder(metric)),
    "a pickle": pickle.dumps,
    "update": lambda metric: metric.update(*batches("Multiclass", "logits")[0]),
    "a call": lambda metric: metric(*batches("Multiclass", "logits")[0]),
    "len": len,
    "iteration": lambda metric: [*metric],
    "contains": lambda metric: "accuracy" in metric,
    "repr": repr,
    "dir": dir,
    "vars": vars,
    "a setting": lambda metric: setattr(metric, "prefix", "a"),
    "deleting": lambda metric: (setattr(metric, "note", 1), delattr(metric, "note")),
    "modules": lambda metric: [module.training for module in metric.modules()],
    "eval": lambda metric: Holder(metric).eval(),
}


@pytest.mark.parametrize("touch", TOUCHES)
def test_whoever_touches_a_metric_finds_it_updated(touch: str) -> None:
    metric, data = plain(), batches("Multiclass", "logits")
    expected = metric.clone()
    waiting(metric, data)
    for batch in data:
        expected.update(*batch)
    TOUCHES[touch](metric)
    assert "_lighter_pending" not in object.__getattribute__(metric, "__dict__")
    assert type(metric) is NamedMetrics
    TOUCHES[touch](expected)
    for mine, other in zip(metric.values(), expected.values(), strict=True):
        assert type(mine) is type(other)
        assert mine.update_count == other.update_count
        assert all(torch.equal(state, other.metric_state[name]) for name, state in mine.metric_state.items())


def test_a_member_is_touched_without_its_collection() -> None:
    metric, data = plain(), batches("Multiclass", "logits")
    member = metric["matrix"]
    waiting(metric, data)
    assert int(member.confmat.sum()) == sum(SIZES)
    assert type(member) is MulticlassConfusionMatrix


def test_reset_forgets_what_waits() -> None:
    metric = plain()
    waiting(metric, batches("Multiclass", "logits"))
    metric.reset()
    same(metric, plain())


def test_a_changed_setting_holds_from_the_next_batch_on() -> None:
    metric, data = BinaryAccuracy(threshold=0.5), batches("Binary", "probabilities")
    expected = metric.clone()
    pending = PendingUpdates(metric)
    for number, batch in enumerate(data):
        if number == 6:
            metric.threshold = expected.threshold = 0.9
        pending.update(batch, {})
        expected.update(*batch)
    same(metric, expected)


@pytest.mark.parametrize("change", [lambda m: setattr(m, "top_k", 2), lambda m: setattr(m, "update", m.update)])
def test_what_is_no_sum_any_more_is_updated_at_once(change: Callable[[Any], None]) -> None:
    metric = MulticlassAccuracy(CLASSES)
    pending = waiting(metric, batches("Multiclass", "logits"))
    change(metric)
    metric.update = functools.partial(metric.update)
    for batch in batches("Multiclass", "logits"):
        pending.update(batch, {})
    assert "_lighter_pending" not in object.__getattribute__(metric, "__dict__")


@pytest.mark.parametrize(
    "metric",
    [
        MeanMetric(),
        MulticlassAUROC(CLASSES),
        MulticlassAccuracy(CLASSES, multidim_average="samplewise"),
        MulticlassAccuracy(CLASSES, top_k=2),
        MetricCollection([MulticlassAccuracy(CLASSES), MulticlassAUROC(CLASSES)]),
        type("Mine", (MulticlassAccuracy,), {"update": lambda self, *args: MulticlassAccuracy.update(self, *args)})(5),
        type("Collection", (MetricCollection,), {})([MulticlassAccuracy(CLASSES)]),
    ],
)  # fmt: skip
def test_metrics_that_are_not_known_do_not_wait(metric: Any) -> None:
    pending = PendingUpdates(metric)
    for preds, target in batches("Multiclass", "logits", inner=(2,)):
        pending.update((preds, target) if not isinstance(metric, MeanMetric) else (preds, torch.ones_like(preds)), {})
        assert "_lighter_pending" not in object.__getattribute__(metric, "__dict__")


def test_deterministic_algorithms_do_not_wait() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(AssertionError):
            waiting(MulticlassF1Score(CLASSES), batches("Multiclass", "logits"))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    "change",
    [
        lambda preds, target: (preds.double(), target),
        lambda preds, target: (preds, target.int()),
        lambda preds, target: (torch.stack([preds] * 2, -1), torch.stack([target] * 2, -1)),
        lambda preds, target: (preds.argmax(1), target),
        lambda preds, target: (preds.requires_grad_(), target),
    ],
)
def test_a_change_of_form_is_the_same(change: Callable[..., Any]) -> None:
    data = batches("Multiclass", "logits")
    data[4:7] = [change(*batch) for batch in data[4:7]]
    metric, expected = plain(), plain()
    pending = PendingUpdates(metric)
    for batch in data:
        pending.update(batch, {})
        expected.update(*batch)
    same(metric, expected)


def test_wrong_shapes_raise_at_once() -> None:
    metric, data = plain(), batches("Multiclass", "logits")
    pending = waiting(metric, data)
    with pytest.raises(ValueError, match="equal to number of classes"):
        pending.update((torch.randn(8, CLASSES + 1), data[0][1]), {})
    assert metric["accuracy"].update_count == len(data) + 1  # torchmetrics counts it before it looks
    with pytest.raises(TypeError):
        pending.update((data[0][0],), {})


def test_graphs_and_large_tensors_are_not_kept() -> None:
    pending = waiting(MulticlassAccuracy(CLASSES), batches("Multiclass", "logits"))
    whole = torch.randn(1000, 8, CLASSES, requires_grad=True)
    pending.update(((whole * 2)[0], torch.zeros(8, dtype=torch.long)), {})
    kept = pending._waiting[-1].preds
    assert kept.untyped_storage().nbytes() == kept.nbytes
    assert not kept.requires_grad


BAD = {
    "Binary": (torch.rand(8), torch.full((8,), 2), RuntimeError, "Detected the following values in `target`"),
    "Multiclass": (torch.randn(8, CLASSES), torch.full((8,), CLASSES), RuntimeError, "shape"),
    "Multilabel": (torch.rand(8, LABELS), torch.full((8, LABELS), 3), RuntimeError, "Detected the following values"),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_bad_value_names_its_batch(task: str) -> None:
    data = batches(task, "probabilities")
    preds, target, kind, message = BAD[task]
    data[4] = (preds, target)
    metric, expected = (MetricCollection([make(task, "F1Score"), make(task, "ConfusionMatrix")]) for _ in range(2))
    for batch in data[:4]:
        expected.update(*batch)
    with pytest.raises(kind) as theirs:
        expected.update(*data[4])
    for batch in data[5:]:
        expected.update(*batch)
    waiting(metric, data)
    with pytest.raises(kind, match=message) as caught:
        metric.compute()
    assert (type(caught.value), str(caught.value)) == (type(theirs.value), str(theirs.value))
    assert caught.value.__notes__ == ["this is of batch 4; metrics are updated with several batches at once"]
    same(metric, expected)  # whoever catches the error finds what he would have found


def test_a_bad_value_that_torchmetrics_takes_is_taken() -> None:
    """Six classes in one update are an error; a batch with fewer of them is none."""
    data = [(preds, target + (number == 4)) for number, (preds, target) in enumerate(batches("Multiclass", "labels"))]
    check(MulticlassAccuracy(CLASSES, average="micro"), data)


def test_metrics_that_do_not_wait_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(pending_updates, "merging", lambda *args: asked.append(args))
    pending = PendingUpdates(MulticlassAUROC(CLASSES))
    for batch in batches("Multiclass", "logits"):
        pending.update(batch, {})
    assert len(asked) == 1


def test_what_waits_is_bounded(updates: list[int]) -> None:
    for size, expected in ((4, MAX_UPDATES), (2000, MAX_BYTES // (2000 * (CLASSES * 4 + 8)))):
        updates.clear()
        pending = PendingUpdates(plain())
        batch = torch.randn(size, CLASSES), torch.randint(CLASSES, (size,))
        for _ in range(3 * MAX_UPDATES):
            pending.update(batch, {})
        assert max(updates) == expected * size
        assert sum(updates) > (3 * MAX_UPDATES - expected - 1) * size
    updates.clear()
    large = torch.randn(50_000, CLASSES), torch.randint(CLASSES, (50_000,))
    pending = PendingUpdates(plain())
    for _ in range(3):
        pending.update(large, {})
    assert updates == [50_000] * 3


@pytest.mark.parametrize(
    ("metric", "limit"),
    [
        (BinaryAUROC(thresholds=2), 50_000),
        (MulticlassAUROC(CLASSES, thresholds=2), 1_000_000 // CLASSES**2),
        (MulticlassAUROC(50, thresholds=2), 1_000_000 // 50**2),
        (MultilabelAUROC(LABELS, thresholds=200), MAX_BYTES // (8 * LABELS * 200)),
    ],
)
def test_curves_are_computed_in_the_way_of_single_batches(metric: Any, limit: int, updates: list[int]) -> None:
    classes = getattr(metric, "num_classes", None) or getattr(metric, "num_labels", None)
    preds = torch.rand(limit // 50, *([classes] if classes else []))
    target = torch.randint(2, preds.shape[:1] if isinstance(metric, MulticlassAUROC) else preds.shape)
    pending = PendingUpdates(MetricCollection([metric]))
    for _ in range(120):
        pending.update((preds, target), {})
    pending.finish()
    assert len(preds) < max(updates) <= limit


def test_inference_mode_is_that_of_the_batches() -> None:
    for inference in (True, False):
        metric, data = plain(), batches("Multiclass", "logits")
        expected = metric.clone()
        with torch.inference_mode(inference):
            for batch in data:
                expected.update(*batch)
            waiting(metric, data)
        with torch.inference_mode(not inference):
            metric.keys()
        same(metric, expected)


def test_what_is_undone_is_undone_with_what_waits() -> None:
    metric, data = plain(), batches("Multiclass", "logits")
    waiting(metric, data)
    expected = metric.clone()
    with unchanged(metric.modules()):
        waiting(metric, data)
    same(metric, expected)
    with pytest.raises(ZeroDivisionError), unchanged(metric.modules()):  # noqa: PT012
        waiting(metric, data)
        raise ZeroDivisionError
    same(metric, expected)


def test_updates_of_another_kind_of_tensor_are_at_once() -> None:
    class Mine(Tensor):
        pass

    metric = BinaryConfusionMatrix()
    pending = PendingUpdates(metric)
    for args in (
        [(torch.rand(4).as_subclass(Mine), torch.ones(4, dtype=torch.long))] * 3
        + [(torch.rand(0), torch.ones(0, dtype=torch.long))] * 2
        + [(torch.tensor(0.5), torch.tensor(1))] * 2
    ):
        pending.update(args, {})
        assert "_lighter_pending" not in object.__getattribute__(metric, "__dict__")
    assert metric.update_count == 7


def test_the_pending_updates_are_copied_with_nothing_that_waits() -> None:
    pending = waiting(MultilabelF1Score(LABELS), batches("Multilabel", "logits"))
    other = pickle.loads(pickle.dumps(pending))
    same(other.metrics, pending.metrics)
    assert other._waiting == []
