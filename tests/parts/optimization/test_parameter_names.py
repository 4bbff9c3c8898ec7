"""Many names of parameters as few."""

from __future__ import annotations

import pytest
from torch import nn

from lighter.parts.optimization.parameter_names import shortened_names

NAMES = ["network.backbone.0.weight", "network.backbone.0.bias", "network.backbone.2.weight", "network.backbone.2.bias"]
NAMES += ["network.head.weight", "network.head.bias", "criterion.scale"]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (NAMES, "network, criterion"),
        (NAMES[:6], "network"),
        (NAMES[:4], "backbone"),
        (NAMES[:2] + NAMES[4:6], "backbone.0, head"),
        (NAMES[:6:2], "backbone.[0,2].weight, head.weight"),
        ([NAMES[1]], "backbone.0.bias"),
        ([], ""),
    ],
)
def test_whole_modules(chosen: list[str], expected: str) -> None:
    assert shortened_names(chosen, NAMES, ("network.",)) == expected


def test_a_range_holds_no_name_of_another_group() -> None:
    names = [f"block{i}.conv{j}.weight" for i in range(3) for j in range(3)]
    assert shortened_names(names[:8], names) == "block[0-1], block2.conv[0-1]"
    assert shortened_names([n for n in names if n != "block1.conv1.weight"], names) == "block[0,2], block1.conv[0,2]"
    assert shortened_names(names[::4], names) == "block0.conv0, block1.conv1, block2.conv2"
    assert shortened_names([f"{i}.weight" for i in (0, 1, 2, 7, 9, 10)], [f"{i}.weight" for i in range(12)]) == (
        "[0-2,7,9-10]"
    )


def test_many_names_are_cut() -> None:
    names = [f"{letter}.{part}" for letter in "abcdefghij" for part in ("weight", "bias")]
    assert shortened_names(names[::2], names) == (
        "a.weight, b.weight, c.weight, d.weight, e.weight, f.weight and 4 more"
    )


def test_the_biases_of_a_deep_network() -> None:
    network = nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in range(20)))
    names = [name for name, _ in network.named_parameters()]
    assert shortened_names([name for name in names if name.endswith("bias")], names) == "[0-19].[0-1].bias"
