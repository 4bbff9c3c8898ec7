"""Updates that wait leave the states that an update for each batch leaves, bit for bit."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection, classification
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
from torchmetrics.wrappers import ClasswiseWrapper, MinMaxMetric

from lighter._lightning.metrics import NamedMetrics
from lighter.parts.metrics.integer_sums import MAX_BYTES
from lighter.parts.metrics.pending_updates import MAX_UPDATES, PendingUpdates
from lighter.parts.metrics.state import unchanged
from tests.slow import slow_but

CLASSES, LABELS, SIZES = 5, 4, (8, 8, 3, 8, 8, 1, 8, 8, 8, 5)
SETTINGS: dict[str, dict[str, Any]] = {
    "FBetaScore": {"beta": 2.0},
    "PrecisionAtFixedRecall": {"min_recall": 0.5},
    "RecallAtFixedPrecision": {"min_precision": 0.5},
    "SensitivityAtSpecificity": {"min_specificity": 0.5},
    "SpecificityAtSensitivity": {"min_sensitivity": 0.5},
}
SUMS = [
    "Accuracy", "CohenKappa", "ConfusionMatrix", "ExactMatch", "F1Score", "FBetaScore", "HammingDistance",
    "JaccardIndex", "MatthewsCorrCoef", "NegativePredictiveValue", "Precision", "Recall", "Specificity", "StatScores",
]  # fmt: skip
CURVES = [
    "AUROC", "AveragePrecision", "LogAUC", "PrecisionAtFixedRecall", "PrecisionRecallCurve", "RecallAtFixedPrecision",
    "ROC", "SensitivityAtSpecificity", "SpecificityAtSensitivity",
]  # fmt: skip
TASKS = {"Binary": {}, "Multiclass": {"num_classes": CLASSES}, "Multilabel": {"num_labels": LABELS}}
FAMILIES = [
    (task, family)
    for task in TASKS
    for family in (*SUMS, *CURVES)
    if hasattr(classification, task + family)
]  # fmt: skip


def make(task: str, family: str, **settings: Any) -> Metric:
    settings = {
        **TASKS[task],
        **SETTINGS.get(family, {}),
        **({"thresholds": 9} if family in CURVES else {}),
        **settings,
    }
    return getattr(classification, task + family)(**settings)


def batches(task: str, form: str, sizes: tuple[int, ...] = SIZES, inner: tuple[int, ...] = ()) -> list[Any]:
    """Batches of predictions, as probabilities, logits, labels or logits of which some batches look like the first."""
    generator = torch.Generator().manual_seed(3)
    made = []
    for number, size in enumerate(sizes):
        shape = (size, LABELS) if task == "Multilabel" else (size,)
        classes = CLASSES if task == "Multiclass" else 2
        target = torch.randint(classes, (*shape, *inner), generator=generator)
        values = (size, CLASSES) if task == "Multiclass" else shape
        preds = torch.randn((*values, *inner), generator=generator) * 3
        if form == "labels":
            preds = torch.randint(classes, (*shape, *inner), generator=generator)
        elif form == "probabilities" or (form == "mixed" and number % 3 == 1):
            preds = preds.softmax(1) if task == "Multiclass" else preds.sigmoid()
        made.append((preds, target))
    return made


def same(metric: Metric | MetricCollection, expected: Metric | MetricCollection) -> None:
    """Compare all that there is of two metrics: counts, cached values and states, bit for bit."""
    ours, theirs = ([part for part in one.modules() if isinstance(part, Metric)] for one in (metric, expected))
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        assert type(mine) is type(other)
        assert (mine.update_count, mine.update_called, mine._computed) == (
            other.update_count,
            other.update_called,
            None,
        )
        assert vars(mine).keys() == vars(other).keys()
        for name, state in other.metric_state.items():
            here = mine.metric_state[name]
            assert (here.shape, here.dtype, here.is_inference()) == (state.shape, state.dtype, state.is_inference())
            assert torch.equal(here, state), name


def check(metric: Any, data: list[Any], *, keywords: bool = False) -> None:
    expected = metric.clone()
    pending = PendingUpdates(metric)
    for preds, target in data:
        expected.update(preds, target)
        pending.update((), {"preds": preds, "target": target}) if keywords else pending.update((preds, target), {})
        preds.zero_(), target.zero_()  # the user's own tensors, to be used again
    same(metric, expected)


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The samples of each update of a collection."""
    counted: list[int] = []
    update = MetricCollection.update

    def count(self: MetricCollection, preds: Tensor, target: Tensor) -> None:
        counted.append(len(target))
        update(self, preds, target)

    monkeypatch.setattr(MetricCollection, "update", count)
    return counted


@pytest.mark.parametrize("form", slow_but(["probabilities", "logits", "mixed", "labels"], "mixed"))
@pytest.mark.parametrize(("task", "family"), FAMILIES)
def test_states_are_the_same(task: str, family: str, form: str) -> None:
    if form == "labels" and (family in CURVES or family == "LogAUC"):
        pytest.skip("a curve takes no labels")
    for settings in ({}, {"ignore_index": 0}, {"ignore_index": -1}):
        inner = (2,) if family == "ExactMatch" and task == "Multiclass" else ()
        check(make(task, family, **settings), batches(task, form, inner=inner))


@pytest.mark.parametrize("form", ["probabilities", "logits", "mixed", "labels"])
@pytest.mark.parametrize("task", TASKS)
def test_states_are_the_same_with_more_dimensions(task: str, form: str) -> None:
    for family in ("Accuracy", "ConfusionMatrix", "F1Score", *(["AUROC"] if form != "labels" else [])):
        check(make(task, family), batches(task, form, inner=(3, 2)))


@pytest.mark.parametrize("average", ["micro", "macro", "weighted", "none"])
@pytest.mark.parametrize("task", ["Multiclass", "Multilabel"])
def test_states_are_the_same_for_each_average(task: str, average: str) -> None:
    for family in ("Accuracy", "F1Score", *([] if (task, average) == ("Multiclass", "weighted") else ["AUROC"])):
        if not (family == "AUROC" and average == "micro" and task == "Multiclass"):
            check(make(task, family, average=average), batches(task, "logits"))


@pytest.mark.parametrize(
    "metric",
    [
        MulticlassAccuracy(CLASSES, top_k=2),
        MulticlassAccuracy(CLASSES, validate_args=False),
        MulticlassAccuracy(CLASSES, dist_sync_on_step=True, sync_on_compute=False, compute_on_cpu=True),
        ClasswiseWrapper(MulticlassAccuracy(CLASSES, average=None), labels=[*"abcde"]),
        MinMaxMetric(MulticlassAccuracy(CLASSES)),
        MulticlassAccuracy(CLASSES) + MulticlassF1Score(CLASSES),
    ],
)
def test_states_are_the_same_with_settings_and_wrappers(metric: Any) -> None:
    check(metric, batches("Multiclass", "logits"))


@pytest.mark.parametrize("keywords", [False, True])
@pytest.mark.parametrize("groups", [True, False])
def test_states_of_a_collection_are_the_same(groups: bool, keywords: bool, updates: list[int]) -> None:
    members = {
        "accuracy": MulticlassAccuracy(CLASSES),
        "f1": MulticlassF1Score(CLASSES),
        "micro": MulticlassAccuracy(CLASSES, average="micro"),
        "matrix": MulticlassConfusionMatrix(CLASSES),
        "classes": ClasswiseWrapper(MulticlassF1Score(CLASSES, average=None)),
    }
    for kind in (MetricCollection, NamedMetrics):
        check(kind(copy.deepcopy(members), compute_groups=groups), batches("Multiclass", "logits"), keywords=keywords)
    waited = [samples for samples in updates if samples > max(SIZES)]
    assert waited == [sum(SIZES[1:])] * 2


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("task", TASKS)
def test_states_are_the_same_in_other_precisions(task: str, half: torch.dtype) -> None:
    for family in ("Accuracy", "F1Score", "AUROC"):
        check(make(task, family), [(preds.to(half), target) for preds, target in batches(task, "mixed")])


@pytest.mark.parametrize("task", TASKS)
def test_the_last_bit_of_a_sigmoid_is_that_of_its_own_batch(task: str) -> None:
    """Predictions around a threshold, which a sigmoid computed elsewhere in memory puts on its other side."""
    generator = torch.Generator().manual_seed(0)
    data = []
    for size in (7, 13, 7, 29) * 8:
        shape = {"Binary": (size,), "Multiclass": (size, CLASSES), "Multilabel": (size, LABELS)}[task]
        preds = torch.randn(shape, generator=generator) * 1e-7 + torch.tensor(0.25).logit()
        preds[0] = 5.0
        data.append((preds, torch.randint(2, shape[:1] if task == "Multiclass" else shape, generator=generator)))
    for family in ("AUROC", "Accuracy", "ConfusionMatrix"):
        check(make(task, family), data)


def test_predictions_with_nan_are_the_same() -> None:
    for task in TASKS:
        data = batches(task, "probabilities")
        data[4][0][0] = torch.nan
        check(make(task, "Accuracy"), data)


def strided(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    wide = torch.stack([batch[0]] * 2, -1)
    return wide[..., 0], batch[1]


@pytest.mark.parametrize("task", TASKS)
def test_parts_of_larger_tensors_are_the_same(task: str) -> None:
    for family in ("Accuracy", "AUROC"):
        check(make(task, family), [strided(batch) for batch in batches(task, "mixed")])


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
    preds = torch.rand(limit // 20, *([classes] if classes else []))
    target = torch.randint(2, preds.shape[:1] if isinstance(metric, MulticlassAUROC) else preds.shape)
    pending = PendingUpdates(MetricCollection([metric]))
    for _ in range(50):
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
