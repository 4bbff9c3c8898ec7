"""Parameter groups by name, pattern and type."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lighter.errors import ModuleValueError
from lighter.parts.optimization.parameter_groups import group_parameters
from lighter.parts.optimization.parameter_types import NamedParameters


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer1, self.layer10, self.head = nn.Linear(64, 32), nn.Linear(32, 32), nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.layer10(self.layer1(x).relu()).relu())


def test_the_longest_name_wins_and_a_module_is_not_its_longer_namesake() -> None:
    named = list(Backbone().named_parameters())
    names = {id(parameter): name for name, parameter in named}
    found = group_parameters([{"params": "layer1"}, {"params": "layer1.bias"}, {"params": None}], named)
    assert [[names[id(p)] for p in group["params"]] for group in found] == [
        ["layer1.weight"],
        ["layer1.bias"],
        ["layer10.weight", "layer10.bias", "head.weight", "head.bias"],
    ]
    [both, _] = group_parameters(["layer", None], named)
    assert len(both["params"]) == 4


class Blocks(nn.Module):
    """Names in all forms: normalisation by torch and by others, attention, an embedding, numbers of two digits."""

    class RMSNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(3, 4)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(12))
        self.norm, self.other = nn.BatchNorm1d(4), Blocks.RMSNorm()
        self.attention = nn.MultiheadAttention(4, 1)


@pytest.mark.parametrize(
    ("params", "taken"),
    [
        ("*.bias", [*(f"blocks.{i}.bias" for i in range(12)), "norm.bias", "attention.out_proj.bias"]),
        ("network.blocks.?.bias", [f"blocks.{i}.bias" for i in range(10)]),
        ("blocks.[0-2,11]", [f"blocks.{i}.{kind}" for i in (0, 1, 2, 11) for kind in ("weight", "bias")]),
        (["*norm", "embed"], ["embed.weight", "norm.weight", "norm.bias"]),
        ({"type": "norm"}, ["norm.weight", "norm.bias", "other.scale"]),
        ({"type": "bias", "name": ["attention", "embed"]}, ["attention.in_proj_bias", "attention.out_proj.bias"]),
        ({"type": ["norm", "torch.nn.Embedding"]}, ["embed.weight", "norm.weight", "norm.bias", "other.scale"]),
        ({"type": "Linear", "name": "attention"}, ["attention.out_proj.weight", "attention.out_proj.bias"]),
        ({"type": nn.Embedding}, ["embed.weight"]),
        (["embed", {"type": "bias", "name": "norm"}], ["embed.weight", "norm.bias"]),
    ],
)  # fmt: skip
def test_groups_by_pattern_and_type(params: Any, taken: list[str]) -> None:
    net = Blocks()
    named = NamedParameters([(f"network.{name}", p) for name, p in net.named_parameters()], net)
    groups = group_parameters([{"params": params}, {"params": None}], named, ("network.",))
    names = {id(p): name for name, p in net.named_parameters()}
    assert [names[id(p)] for p in groups[0]["params"]] == taken
    assert len(groups[0]["params"]) + len(groups[1]["params"]) == len(names)


@pytest.mark.parametrize("order", [1, -1])
def test_the_narrower_choice_wins_in_any_order(order: int) -> None:
    net = Blocks()
    choices = ["blocks", "*.bias", "blocks.*.bias", {"params": {"type": "bias", "name": "blocks.0"}}, None]
    groups = group_parameters(choices[::order], NamedParameters([*net.named_parameters()], net))
    assert [len(group["params"]) for group in groups[::order]] == [12, 2, 11, 1, 6]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (["*.bais"], r"group 0: no parameter's name fits the pattern `\*.bais`. Did you mean `\*.bias`"),
        ([{"params": {"type": "LinearNorm"}}], "no parameter is of the type `LinearNorm`. Did you mean"),
        ([{"params": {"type": "torch.nn.Conv2d"}}], "There is: BatchNorm1d, Embedding, Linear, .*; or `norm`, `bias`"),
        ([{"params": {"type": "timm.Embedding"}}], "no parameter is of the type `timm.Embedding`"),
        ([{"params": {"type": 3}}], "`type` is `norm`, `bias` or the name of a class; found"),
        ([{"params": {"types": "norm"}}], "as a dict has `name` and `type`; found .'types'.. Did you mean `type`"),
        ([{"params": {"type": "norm", "name": "embed"}}], "there is no parameter for `type: norm, name: embed`"),
        (
            ["blocks.0", {"params": {"type": "bias"}}],
            "`blocks.0` and group 1's `type: bias` both take `blocks.0.bias`",
        ),
    ],
)
def test_wrong_patterns_and_types(groups: Any, message: str) -> None:
    net = Blocks()
    with pytest.raises(ModuleValueError, match=message):
        group_parameters([*groups, None], NamedParameters([*net.named_parameters()], net))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([{"params": "heda"}], "no parameter's name starts with `heda`.*Did you mean `head`"),
        ([{"params": "zzz"}], "There is: head, layer1, layer10"),
        ([{"lr": 0.1}], "a parameter group has `params`"),
        ([{"params": "head"}, {"params": ["head"]}], "group 0: this parameter group is empty"),
    ],
)
def test_wrong_groups(groups: Any, message: str) -> None:
    with pytest.raises(ModuleValueError, match=message):
        group_parameters(groups, list(Backbone().named_parameters()))
