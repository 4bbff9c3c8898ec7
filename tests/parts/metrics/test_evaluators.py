"""Evaluators without a trainer."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from lighter.errors import ModuleTypeError, ModuleValueError
from lighter.parts.metrics.evaluators import SPLITS, Evaluators, check_methods, epoch_values


class Count:
    """An evaluator that is not from torchmetrics."""

    def __init__(self) -> None:
        self.samples = 0

    def update(self, preds: Tensor, target: Tensor | None = None) -> None:
        self.samples += len(preds)

    def compute(self) -> int:
        return self.samples

    def reset(self) -> None:
        self.samples = 0


def every(evaluators: Evaluators, loaders: int = 1) -> list[Any]:
    for split in SPLITS:
        evaluators.begin(split, loaders)
    groups = [evaluators.of(split, loader) for split in SPLITS for loader in range(loaders)]
    return [evaluator for group in groups for evaluator in group.values()]


@pytest.mark.parametrize(
    "given",
    [MulticlassAccuracy(3), {"train": MulticlassAccuracy(3)}, {"a": MulticlassAccuracy(3)}, {"a": Count()}, Count()],
)
def test_each_split_and_dataloader_has_a_state_of_its_own(given: Any) -> None:
    found = every(Evaluators(given), loaders=2)
    assert len({id(evaluator) for evaluator in found}) == 6
    found[0].update(*([torch.tensor([0, 1]), torch.tensor([0, 1])][: 1 if isinstance(found[0], Count) else 2]))
    assert all(
        getattr(evaluator, "samples", 0) == 0 and not getattr(evaluator, "update_called", False)
        for evaluator in found[1:]
    )


def test_a_split_without_its_own_has_that_of_the_split_before_it() -> None:
    train, val, test = every(Evaluators({"train": MulticlassAccuracy(3), "val": MulticlassF1Score(3)}))
    assert [type(each) for each in (train, val, test)] == [MulticlassAccuracy, MulticlassF1Score, MulticlassF1Score]
    assert [split for split in SPLITS if Evaluators({"val": Count(), "test": None}).has(split)] == ["val"]


def test_several_of_torchmetrics_are_a_collection() -> None:
    [group] = [Evaluators({"val": {"a": MulticlassAccuracy(3), "b": MulticlassF1Score(3), "c": None}}).of("val", 0)]
    assert isinstance(group[""], MetricCollection)
    assert [*Evaluators({"a": MulticlassAccuracy(3), "mine": Count()}).of("val", 0)] == ["a", "mine"]


def test_modules_among_them_are_registered() -> None:
    evaluators = Evaluators({"val": [MulticlassAccuracy(3), Count()]})
    assert [name for name, _ in evaluators.named_children()] == ["val_0", "test_0"]
    copied = pickle.loads(pickle.dumps(evaluators))
    assert copied.of("val", 0)[""] is copied.val_0


def test_a_list_has_one_for_each_dataloader() -> None:
    evaluators = Evaluators({"val": [Count(), Count()]})
    evaluators.begin("val", 2)
    with pytest.raises(ModuleValueError, match=r"a list of 2 for val: one for each .* there are 3"):
        evaluators.begin("val", 3)


def test_what_was_left_in_them_is_gone_when_an_epoch_begins() -> None:
    evaluators = Evaluators({"val": Count()})
    evaluators.of("val", 0)[""].update(torch.zeros(4))
    assert [loader for loader, _ in evaluators.fed("val")] == [0]
    assert evaluators.fed("test") == []
    evaluators.begin("val", 1)
    assert evaluators.of("val", 0)[""].samples == 0


@pytest.mark.parametrize("given", [3, nn.Linear(1, 1), "accuracy", {"a": 3}, {"train": 3}, [3]])
def test_what_is_none(given: Any) -> None:
    with pytest.raises(ModuleTypeError, match="an evaluator has the methods `update`, `compute` and `reset`, or"):
        Evaluators(given)
    Evaluators(given, check=lambda evaluator: None)


def test_a_split_that_there_is_not() -> None:
    with pytest.raises(ModuleValueError, match=r"`evaluator_cfg` has no `valid`\. Did you mean `val`\?"):
        Evaluators({"train": Count(), "valid": Count()})
    with pytest.raises(ModuleValueError, match=r"`evaluator_cfg` has no `validation`\. There is: train, val, test"):
        Evaluators({"validation": Count()})
    check_methods(Count())


@pytest.mark.parametrize(
    ("name", "computed", "expected"),
    [
        ("", torch.tensor(0.5), {"Count": 0.5}),
        ("mine", 0.5, {"mine": 0.5}),
        ("", {"a": 1, "b": torch.ones(1)}, {"a": 1, "b": 1}),
        ("mine", {"a": 1}, {"mine/a": 1}),
        ("", None, {}),
        ("", torch.ones(2).numpy().mean(), {"Count": 1}),
    ],
)
def test_names_of_values(name: str, computed: Any, expected: dict[str, float]) -> None:
    assert epoch_values(name, Count(), computed).numbers == expected


def test_a_value_of_several_numbers_is_several_or_an_array() -> None:
    assert [*epoch_values("mine", Count(), torch.zeros(3)).numbers] == ["mine_0", "mine_1", "mine_2"]
    assert [*epoch_values("mine", Count(), {"a": torch.zeros(3, 3)}).arrays] == ["mine/a"]
