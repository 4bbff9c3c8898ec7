"""What a Freezer's names mean, and what freezing does to a module, without a trainer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lighter.errors import ModuleValueError
from lighter.parts.weights.freezing import Choice, Inventory, Name, Until


class Net(nn.Module):
    """A module with a network inside, a tied weight, and a criterion that learns."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential()
        self.network.layer1 = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.network.layer10 = nn.Linear(4, 4)
        self.network.norm = nn.BatchNorm1d(4, affine=False)
        self.network.head = nn.Linear(4, 4, bias=False)
        self.network.tied = nn.Linear(4, 4, bias=False)
        self.network.tied.weight = self.network.head.weight
        self.criterion = nn.Linear(4, 1)


def choose(**choice: object) -> tuple[Net, list[str]]:
    net = Net()
    inventory = Inventory(net, prefixes=("network.",), aside=("criterion.",))
    for group in Choice(**choice).groups(inventory):
        group.freeze()
        group.hold_layers()
    frozen = [name for name, parameter in net.named_parameters() if not parameter.requires_grad]
    frozen += [name for name, module in net.named_modules() if not module.training]
    return net, [name.removeprefix("network.") for name in frozen]


LAYER1 = ["layer1.0.weight", "layer1.0.bias", "layer1.1.weight", "layer1.1.bias", "layer1.1"]


@pytest.mark.parametrize(
    ("chosen", "excepted", "frozen"),
    [
        ([Name("layer1")], [], LAYER1),
        ([Name("network.layer1")], [], LAYER1),
        ([Name("layer1.0.bias")], [], ["layer1.0.bias"]),
        ([Name("layer1", is_prefix=True)], [], [*LAYER1[:4], "layer10.weight", "layer10.bias", "layer1.1"]),
        ([Name("layer1")], [Name("layer1.1")], LAYER1[:2]),
        ([Name("layer1")], [Name("layer1.1.bias")], LAYER1[:3]),  # its bias trains, and so do its statistics
        ([Name("layer1.1.weight"), Name("layer1.1.bias")], [], LAYER1[2:]),
        ([Name("norm")], [], ["norm"]),
        ([Name("layer1.*.bias"), Name("layer?.1")], [], LAYER1[1:]),
        ([Name("tied")], [], ["head.weight"]),
        (
            [Name("", is_prefix=True)],
            [Name("tied")],
            [*LAYER1[:4], "layer10.weight", "layer10.bias", "layer1.1", "norm"],
        ),
    ],
    ids=str,
)
def test_names(chosen: list[Name], excepted: list[Name], frozen: list[str]) -> None:
    assert choose(chosen=chosen, excepted=excepted)[1] == frozen


def test_all_wrong_names_are_shown_at_once() -> None:
    with pytest.raises(ModuleValueError) as error:
        choose(chosen=[Name("laier1"), Name("x", is_prefix=True), Name("*.bais")], excepted=[Name("hed")])
    assert str(error.value).splitlines() == [
        "Freezer: no parameter's or module's name is `laier1`. Did you mean `layer1`?",
        "Freezer: no parameter's or module's name starts with `x`. There is: head, layer1, layer10, tied.",
        "Freezer: no parameter's or module's name fits the pattern `*.bais`. Did you mean `*.bias`?",
        "Freezer: no parameter's or module's name is `hed`. Did you mean `head`?",
    ]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"chosen": [Name("head")], "excepted": [Name("tied")]}, "nothing is left to freeze"),
        ({"chosen": [Name("layer1")], "schedule": {Name("head"): 1}}, "`head`, which is not among what is frozen"),
        ({"chosen": [Name("criterion")]}, "no parameter's or module's name is `criterion`"),
    ],
)
def test_choices_that_make_no_sense(choice: dict[str, object], message: str) -> None:
    with pytest.raises(ModuleValueError, match=message):
        choose(**choice)


def test_a_schedule_thaws_in_its_order_and_the_longest_name_counts() -> None:
    choice = Choice([Name("", is_prefix=True)], schedule={Name("layer1"): 1, Name("layer1.1"): 3, Name("head"): 0})
    groups = choice.groups(Inventory(Net(), prefixes=("network.",), aside=("criterion.",)))
    for group in groups:
        assert group.freeze()
    assert [f"{group.until}: {group}" for group in groups] == [
        "until epoch 0: head (16 parameters in 1 tensor)",
        "until epoch 1: layer1 (20 parameters in 2 tensors)",
        "until epoch 3: layer1.1 (8 parameters in 2 tensors, 1 normalisation layer)",
        "for the whole run: the rest (20 parameters in 2 tensors, 1 normalisation layer)",
    ]


def test_what_was_frozen_or_in_eval_mode_before_stays_so() -> None:
    net = Net()
    net.network.layer1[0].bias.requires_grad_(False)
    net.network.layer1[1].eval()
    [group] = Choice([Name("layer1")], until=Until(step=2)).groups(Inventory(net, ("network.",)))
    group.freeze()
    group.hold_layers()
    assert str(group) == "layer1 (28 parameters in 4 tensors, 1 normalisation layer, 1 tensor frozen by others)"
    assert group.release()
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ["network.layer1.0.bias"]
    assert not net.network.layer1[1].training


def test_a_gradient_from_before_is_dropped() -> None:
    net = Net()
    net.network.head(torch.ones(1, 4)).sum().backward()
    [group] = Choice([Name("head")]).groups(Inventory(net, ("network.",)))
    group.freeze()
    assert net.network.head.weight.grad is None


def test_names_leave_out_what_compiling_adds() -> None:
    net = nn.Module()
    net.network = torch.compile(nn.Sequential(nn.Linear(2, 2)), backend="eager")
    [group] = Choice([Name("0.weight")]).groups(Inventory(net, ("network.",)))
    assert len(group.parameters) == 1


def test_moments() -> None:
    assert [Until(step=3).is_past(step, 9) for step in (2, 3)] == [False, True]
    assert [Until(epoch=3).is_past(9, epoch) for epoch in (2, 3)] == [False, True]
    assert Until(step=5, epoch=1).is_past(0, 1)
    assert not Until().is_past(9, 9)
    assert [str(Until(5, 1)), str(Until(step=5)), str(Until())] == [
        "until step 5 or epoch 1",
        "until step 5",
        "for the whole run",
    ]
