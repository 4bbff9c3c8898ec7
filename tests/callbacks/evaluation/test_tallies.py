"""The results of each task against scikit-learn and torchmetrics, in batches, with hostile values among them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.functional as M  # noqa: N812
from sklearn import metrics as sk
from torch import Tensor
from torchmetrics.functional.segmentation import dice_score, mean_iou

from lighter.callbacks.evaluation.classification import ClassificationTally, calibration
from lighter.callbacks.evaluation.regression import RegressionTally
from lighter.callbacks.evaluation.segmentation import SegmentationTally
from lighter.callbacks.evaluation.settings import ReportSettings
from lighter.callbacks.evaluation.tally import Tally
from lighter.callbacks.evaluation.values import SampleValues, counted, joined
from lighter.errors import MisfitError, ModuleTypeError, ModuleValueError


def tally_of(settings: ReportSettings, pred: Tensor, target: Tensor) -> Tally:
    if settings.task == "classification":
        return ClassificationTally(settings, pred, target)
    return (
        SegmentationTally(settings, pred, target) if settings.task == "segmentation" else RegressionTally(pred, target)
    )


def evaluate(settings: ReportSettings, pred: Tensor, target: Tensor, batch: int = 7, processes: int = 1) -> Any:
    """Return the result and the values of all samples, as if several processes had evaluated them in batches."""
    size, parts, whole = len(pred), [], None
    for rank in range(processes):
        tally, values = tally_of(settings, pred[:batch], target[:batch]), SampleValues()
        own = np.arange(rank, size, processes)
        for start in range(0, len(own), batch):
            some = own[start : start + batch]
            values.add(some, tally.update(pred[some], target[some]).values)
        parts.append(values.arrays())
        whole = tally.to_cpu() if whole is None else whole
        if rank:
            whole.merge(tally.to_cpu())
    assert whole is not None
    arrays = joined(parts)
    result = whole.result(counted(arrays))
    json.dumps(result, allow_nan=False)
    return result, arrays


def logits(size: int, classes: int, sharpness: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size * classes)
    target = torch.randint(classes, (size,), generator=generator)
    pred = torch.randn(size, classes, generator=generator) + sharpness * torch.eye(classes)[target]
    return pred, target


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("form", ["logits", "probabilities", "log-probabilities", "half"])
def test_classification(form: str, processes: int) -> None:
    pred, target = logits(400, 5)
    given = {
        "logits": pred,
        "probabilities": pred.softmax(1),
        "log-probabilities": pred.log_softmax(1),
        "half": pred.half(),
    }[form]
    tolerance = 2e-3 if form == "half" else 1e-5
    result, values = evaluate(ReportSettings("classification"), given, target, processes=processes)
    y, predicted, probability = target.numpy(), given.argmax(1).numpy(), given.float().softmax(1).numpy()
    probability = pred.softmax(1).numpy() if form == "probabilities" else probability
    assert result["confusion"] == sk.confusion_matrix(y, predicted).tolist()
    precision, recall, f1, support = sk.precision_recall_fscore_support(y, predicted)
    for name, expected in {"precision": precision, "recall": recall, "f1": f1, "support": support}.items():
        assert result["per_class"][name] == pytest.approx(expected, abs=1e-5)
    assert [row["class"] for row in result["roc"]] == list("01234")
    for number, row in enumerate(result["roc"]):
        assert row["auc"] == pytest.approx(sk.roc_auc_score(y == number, probability[:, number]), abs=2e-3)
        assert len(row["fpr"]) == len(row["tpr"]) <= 200
        assert (row["fpr"][0], row["tpr"][-1]) == (0, 1)
        assert np.trapezoid(row["tpr"], row["fpr"]) == pytest.approx(row["auc"], abs=2e-3)
    for number, row in enumerate(result["precision_recall"]):
        average = sk.average_precision_score(y == number, probability[:, number])
        assert row["ap"] == pytest.approx(average, abs=3e-3)
        assert None not in row["precision"]
        assert -np.trapezoid(row["precision"], row["recall"]) == pytest.approx(average, abs=3e-2)
    assert result["metrics"]["accuracy"] == pytest.approx(sk.accuracy_score(y, predicted), abs=1e-5)
    assert result["metrics"]["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, predicted), abs=1e-5)
    assert result["metrics"]["log_loss"] == pytest.approx(sk.log_loss(y, probability), abs=tolerance)
    ece = M.classification.multiclass_calibration_error(torch.tensor(probability), target, 5)
    assert result["calibration"]["ece"] == pytest.approx(float(ece), abs=tolerance)
    assert sum(result["calibration"]["count"]) == 400
    likelihood = np.log(probability[np.arange(400), y])
    assert values["score"] == pytest.approx(likelihood, abs=5e-3 if form == "half" else 1e-4)
    assert values["target"].tolist() == y.tolist()
    assert values["prediction"].tolist() == predicted.tolist()


def test_a_network_that_is_sure_of_everything_has_an_exact_area() -> None:
    pred, target = logits(2000, 3, sharpness=1.0)
    result, _ = evaluate(ReportSettings("classification"), pred * 5, target, batch=100)
    for number, row in enumerate(result["roc"]):
        exact = sk.roc_auc_score(target == number, (pred * 5).double().softmax(1)[:, number])
        assert row["auc"] == pytest.approx(exact, abs=3e-3)


@pytest.mark.parametrize("form", ["logits", "column", "probabilities"])
def test_a_single_output_is_of_two_classes(form: str) -> None:
    pred, target = logits(300, 2)
    pred = pred[:, 1] - pred[:, 0]
    given = {"logits": pred, "column": pred[:, None], "probabilities": pred.sigmoid()}[form]
    target = target.float()[:, None] if form == "column" else target
    result, values = evaluate(ReportSettings("classification", ["no", "yes"]), given, target)
    y, probability = target.reshape(-1).numpy(), pred.sigmoid().numpy()
    assert result["confusion"] == sk.confusion_matrix(y, probability >= 0.5).tolist()
    assert result["classes"] == ["no", "yes"]
    assert [row["class"] for row in result["roc"]] == ["yes"]
    assert result["roc"][0]["auc"] == pytest.approx(sk.roc_auc_score(y, probability), abs=2e-3)
    ece = M.classification.binary_calibration_error(torch.tensor(probability), torch.tensor(y).long())
    assert result["calibration"]["ece"] == pytest.approx(float(ece), abs=1e-5)
    assert -values["score"].mean() == pytest.approx(sk.log_loss(y, probability), abs=1e-5)


def test_classes_alone_have_no_curves() -> None:
    pred, target = logits(200, 4)
    result, values = evaluate(ReportSettings("classification", 4), pred.argmax(1), target)
    assert result["confusion"] == sk.confusion_matrix(target, pred.argmax(1)).tolist()
    assert not {"roc", "precision_recall", "calibration"} & set(result)
    assert values["score"].tolist() == (pred.argmax(1) == target).float().tolist()
    with pytest.raises(MisfitError, match="add `classes` to `report`"):
        evaluate(ReportSettings("classification"), pred.argmax(1), target)


def test_several_labels() -> None:
    pred, _ = logits(300, 3)
    target = (pred + torch.randn(300, 3, generator=torch.Generator().manual_seed(1)) > 1).long()
    result, _ = evaluate(ReportSettings("classification", ["a", "b", "c"]), pred, target)
    precision, recall, f1, support = sk.precision_recall_fscore_support(target, pred >= 0)
    for name, expected in {"precision": precision, "recall": recall, "f1": f1, "support": support}.items():
        assert result["per_class"][name] == pytest.approx(expected, abs=1e-5)
    assert result["roc"][2]["auc"] == pytest.approx(sk.roc_auc_score(target[:, 2], pred[:, 2]), abs=2e-3)
    assert "confusion" not in result


def test_one_hot_targets_of_one_class() -> None:
    pred, target = logits(100, 3)
    whole, _ = evaluate(ReportSettings("classification"), pred, target)
    one_hot, _ = evaluate(ReportSettings("classification", multilabel=False), pred, torch.eye(3)[target])
    assert one_hot == whole


def test_logits_that_look_like_probabilities_are_logits_where_that_is_said() -> None:
    pred = torch.tensor([0.3, 0.2, 0.4, 0.1])
    target = torch.tensor([1, 1, 1, 0])
    assert evaluate(ReportSettings("classification"), pred, target)[0]["confusion"] == [[1, 0], [3, 0]]
    said, _ = evaluate(ReportSettings("classification", logits=True), pred, target)
    assert said["confusion"] == [[0, 1], [0, 3]]
    # what an earlier batch has shown counts: of single samples one may look like either
    seen, _ = evaluate(ReportSettings("classification"), torch.cat([torch.tensor([-3.0]), pred]),
                       torch.cat([torch.tensor([0]), target]), batch=1)  # fmt: skip
    assert seen["confusion"] == [[1, 1], [0, 3]]


@pytest.mark.parametrize(
    ("task", "pred", "said"),
    [
        ("classification", [[7.3, -1.0], [0.5, 0.5]], "7.3"),
        ("classification", [7.3, 0.5], "7.3"),
        ("classification", [-3.25, 0.5], "-3.25"),
        ("classification", [[1.002, -0.002], [0.5, 0.5]], None),
        ("classification", [[torch.inf, torch.nan], [0.5, 0.5]], None),
        ("segmentation", [[[[7.3]]], [[[0.5]]]], "7.3"),
        ("segmentation", [[[[torch.nan]]], [[[0.5]]]], None),
    ],
)
def test_what_is_no_probability_although_that_is_said(task: str, pred: list[Any], said: str | None) -> None:
    given = torch.tensor(pred)
    target = torch.zeros(2, 1, 1, dtype=torch.long) if task == "segmentation" else torch.tensor([0, 1])
    tallies = [tally_of(ReportSettings(task, logits=False), given, target) for _ in range(2)]
    for tally, order in zip(tallies, ([0], [1]), strict=True):  # two processes
        tally.update(given[order], target[order])
    whole = tallies[1].to_cpu()
    whole.merge(tallies[0].to_cpu())
    assert whole.mistake() == (None if said is None else f"`logits: false`, but predictions reach {said}")


def test_what_is_not_finite_or_no_class_is_left_out() -> None:
    pred, target = logits(60, 3)
    clean, _ = evaluate(ReportSettings("classification"), pred[:50], target[:50])
    pred[50:54, 1], pred[54] = torch.nan, torch.inf
    target[55:] = torch.tensor([-1, 255, 3, -100, 7])
    result, values = evaluate(ReportSettings("classification"), pred, target)
    assert np.isnan(values["score"][50:]).all()
    assert result == clean


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_nothing_finite_has_no_metrics(kind: str) -> None:
    pred = torch.full((4, 3), torch.nan) if kind == "classification" else torch.full((4,), torch.nan)
    result, _ = evaluate(ReportSettings(kind), pred, torch.zeros(4, dtype=torch.long))
    assert result["metrics"] == {}


def test_a_class_that_is_never_seen_has_no_values() -> None:
    pred, target = logits(80, 4)
    target[target == 2], pred[:, 2] = 0, -50
    result, _ = evaluate(ReportSettings("classification"), pred, target)
    assert [result["per_class"][name][2] for name in ("precision", "recall", "f1", "support")] == [None, None, None, 0]
    assert [row["class"] for row in result["roc"]] == ["0", "1", "3"]


def test_one_sample() -> None:
    result, _ = evaluate(ReportSettings("classification"), torch.tensor([[2.0, 1.0]]), torch.tensor([0]))
    assert result["metrics"]["accuracy"] == 1
    result, _ = evaluate(ReportSettings("regression"), torch.tensor([2.0]), torch.tensor([1.0]))
    assert result["metrics"] == {"rmse": 1, "mae": 1}


@pytest.mark.parametrize(
    ("settings", "pred", "target", "message"),
    [
        (ReportSettings("classification", 3), torch.zeros(2, 4), torch.zeros(2), "has 3 classes, .* of 4"),
        (ReportSettings("classification"), torch.zeros(2, 4, 5), torch.zeros(2, 5), "task: segmentation"),
        (ReportSettings("classification"), torch.zeros(2, 4), torch.zeros(2, 3), "a class for each sample"),
        (ReportSettings("classification"), torch.zeros(2, 2000), torch.zeros(2), "at most 1,000 classes"),
        (ReportSettings("regression"), torch.zeros(2, 4), torch.zeros(2), "as many are needed"),
        (ReportSettings("segmentation"), torch.zeros(2, 4), torch.zeros(2), "are one of"),
        (ReportSettings("segmentation"), torch.zeros(2, 3, 4, 4), torch.zeros(2, 2, 4, 4), "are one of"),
        (ReportSettings("segmentation"), torch.zeros(2, 4, 4).long(), torch.zeros(2, 4, 4), "add `classes`"),
    ],
)
def test_what_does_not_fit_the_task(settings: ReportSettings, pred: Tensor, target: Tensor, message: str) -> None:
    with pytest.raises(MisfitError, match=message):
        evaluate(settings, pred, target)


def test_settings_name_what_is_wrong() -> None:
    with pytest.raises(ModuleValueError, match="task is unknown"):
        ReportSettings("clasification")
    with pytest.raises(ModuleTypeError, match="from 0 on"):
        ReportSettings("classification", samples=-1)
    with pytest.raises(ModuleTypeError, match="names each class once"):
        ReportSettings("classification", ["a", "a"])
    with pytest.raises(ModuleValueError, match="Did you mean `classification`"):
        ReportSettings("clasification")
    with pytest.raises(ModuleTypeError, match=r"^a report names its `task`, one of"):
        ReportSettings(None)  # type: ignore[arg-type]
    with pytest.raises(ModuleTypeError, match=r"^`classes` says nothing to a regression. Leave it out"):
        ReportSettings("regression", ["a", "b"])


@pytest.mark.parametrize("shape", ["flat", "column"])
def test_regression(shape: str) -> None:
    generator = torch.Generator().manual_seed(3)
    target = torch.randn(5000, generator=generator)
    pred = target + 0.3 * torch.randn(5000, generator=generator)
    result, values = evaluate(ReportSettings("regression"), pred[:, None] if shape == "column" else pred, target, 64, 2)
    assert result["metrics"] == {
        "rmse": pytest.approx(sk.root_mean_squared_error(target, pred), rel=1e-5),
        "mae": pytest.approx(sk.mean_absolute_error(target, pred), rel=1e-5),
        "r2": pytest.approx(sk.r2_score(target, pred), rel=1e-5),
    }
    residuals = result["residuals"]
    assert len(residuals["target"]) == len(residuals["prediction"]) == 2000
    assert residuals["target"] == sorted(residuals["target"])
    assert (residuals["target"][0], residuals["target"][-1]) == pytest.approx(
        (float(target.min()), float(target.max())), abs=1e-4
    )
    assert values["score"] == pytest.approx(-((pred - target) ** 2).numpy(), abs=1e-5)


def test_regression_of_several_outputs() -> None:
    generator = torch.Generator().manual_seed(4)
    target = torch.randn(50, 3, generator=generator)
    pred = target + torch.tensor([0.1, 0.2, 0.4]) * torch.randn(50, 3, generator=generator)
    target[3] = torch.nan
    good = [number for number in range(50) if number != 3]
    result, _ = evaluate(ReportSettings("regression"), pred, target)
    expected = sk.r2_score(target[good], pred[good], multioutput="raw_values")
    assert result["per_output"]["r2"] == pytest.approx(expected, abs=1e-5)
    assert result["residuals"]["output"] == [0] * 49 + [1] * 49 + [2] * 49
    many, values = evaluate(ReportSettings("regression"), torch.zeros(4, 40), torch.ones(4, 40))
    assert many["metrics"] == {"rmse": 1, "mae": 1}
    assert set(values) == {"index", "score", "absolute"}


def volumes(classes: int, size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    target = torch.randint(classes, (size, 9, 8), generator=generator)
    pred = torch.randn(size, classes, 9, 8, generator=generator)
    return pred + 2 * torch.eye(classes)[target].permute(0, 3, 1, 2), target


@pytest.mark.parametrize("form", ["channels", "one-hot", "column", "labels"])
def test_segmentation(form: str) -> None:
    pred, target = volumes(4)
    # a class that one sample has not, in target and prediction
    target[0][target[0] == 2], pred[0, 2] = 1, -50
    given = {
        "channels": (pred, target),
        "one-hot": (pred, torch.eye(4)[target].permute(0, 3, 1, 2)),
        "column": (pred, target[:, None]),
        "labels": (pred.argmax(1), target),
    }[form]
    result, values = evaluate(ReportSettings("segmentation", 4), *given, batch=2, processes=2)
    predicted = pred.argmax(1)
    matrix = sk.confusion_matrix(target.reshape(-1), predicted.reshape(-1))
    assert result["confusion"] == matrix.tolist()
    assert result["per_class"]["support"] == matrix.sum(1).tolist()
    whole = dice_score(predicted, target, 4, average="none", input_format="index", aggregation_level="global")
    assert result["per_class"]["dice"] == pytest.approx(whole.reshape(-1).tolist(), abs=1e-5)
    jaccard = M.classification.multiclass_jaccard_index(predicted, target, 4, average="none")
    assert result["per_class"]["iou"] == pytest.approx(jaccard.tolist(), abs=1e-5)
    dice = dice_score(predicted, target, 4, average="none", input_format="index")
    iou = mean_iou(predicted, target, 4, per_class=True, input_format="index")
    for sample in range(6):
        there = [number for number in range(1, 4) if (sample, number) != (0, 2)]
        assert values["score"][sample] == pytest.approx(float(dice[sample, there].mean()), abs=1e-5)
        assert values["iou"][sample] == pytest.approx(float(iou[sample, there].mean()), abs=1e-5)
    assert result["per_class"]["dice_of_samples"][2] == pytest.approx(float(dice[1:, 2].mean()), abs=1e-5)
    assert result["metrics"]["dice"] == pytest.approx(values["score"].mean(), abs=1e-5)


@pytest.mark.parametrize("form", ["channel", "no channel", "probabilities", "masks"])
def test_segmentation_of_the_foreground(form: str) -> None:
    pred, target = volumes(2)
    pred = pred[:, 1:] - pred[:, :1]
    given = {
        "channel": (pred, target),
        "no channel": (pred[:, 0], target),
        "probabilities": (pred.sigmoid(), target.float()[:, None]),
        "masks": (pred, target.bool()[:, None]),
    }[form]
    result, values = evaluate(ReportSettings("segmentation", ["ground", "coin"]), *given, batch=2)
    found = (pred[:, 0] >= 0).long()
    assert result["confusion"] == sk.confusion_matrix(target.reshape(-1), found.reshape(-1)).tolist()
    dice = dice_score(found, target, 2, average="none", input_format="index")[:, 1]
    assert values["score"] == pytest.approx(dice.numpy(), abs=1e-5)


def test_segmentation_of_overlapping_masks() -> None:
    pred, _ = volumes(3)
    target = (pred + torch.randn(pred.shape, generator=torch.Generator().manual_seed(1)) > 1).long()
    result, values = evaluate(ReportSettings("segmentation", multilabel=True), pred, target, batch=2)
    found = (pred >= 0).long()
    dice = dice_score(found, target, 3, average="none", input_format="one-hot")
    assert values["score"] == pytest.approx(dice.mean(1).numpy(), abs=1e-5)
    both = (found & target).sum((0, 2, 3))
    assert result["per_class"]["dice"] == pytest.approx((2 * both / (found + target).sum((0, 2, 3))).tolist(), abs=1e-5)


def test_ignored_pixels_and_empty_masks() -> None:
    target = torch.zeros(3, 4, 4, dtype=torch.long)
    target[0, :2], target[1, 0] = 1, 255
    pred = torch.full((3, 1, 4, 4), -1.0)
    pred[0, 0, :2], pred[1, 0, 0] = 1, 1  # found where nothing counts
    pred[2] = torch.nan
    result, values = evaluate(ReportSettings("segmentation"), pred, target, batch=3)
    assert values["score"][:2].tolist() == [1, 1]
    assert np.isnan(values["score"][2])
    assert result["confusion"] == [[20, 0], [0, 8]]


def test_volumes() -> None:
    generator = torch.Generator().manual_seed(5)
    pred, target = (
        torch.randn(2, 3, 4, 5, 6, generator=generator),
        torch.randint(3, (2, 1, 4, 5, 6), generator=generator),
    )
    result, _ = evaluate(ReportSettings("segmentation"), pred, target, batch=1)
    assert result["confusion"] == sk.confusion_matrix(target.reshape(-1), pred.argmax(1).reshape(-1)).tolist()


def test_calibration_has_the_bins_of_torchmetrics() -> None:
    edges = np.array([0.0, 1 / 15, 0.2, 1.0], dtype=np.float32)
    result = calibration(edges, np.array([False, True, True, True]))
    ece = M.classification.binary_calibration_error(torch.from_numpy(edges), torch.tensor([0, 1, 1, 1]))
    assert result["ece"] == pytest.approx(float(ece), abs=1e-5)
