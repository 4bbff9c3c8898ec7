"""Layers that are divided over tensor ranks: what stays as it was, and inputs that do not fit a style."""

from __future__ import annotations

import copy
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from lighter.errors import MisfitError
from lighter.parallel import same_inputs
from lighter.parallel.settings import Style
from lighter.parallel.tensor_styles import divide
from tests.forks import launch
from tests.parallel.jobs import whole

COLWISE, ROWWISE = Style("colwise"), Style("rowwise")
PAIR = {"up": COLWISE, "down": ROWWISE}


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[DeviceMesh]:
    """A mesh of this process alone."""
    distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


@pytest.mark.parametrize("style", ["colwise", "rowwise", "sequence", "replicate"])
def test_a_frozen_weight_stays_frozen(style: str, mesh: DeviceMesh) -> None:
    layer = nn.LayerNorm(4) if style == "sequence" else nn.Linear(4, 4)
    layer.weight.requires_grad_(False)
    divide(nn.ModuleDict({"layer": layer}), mesh, {"layer": Style(style)})
    assert isinstance(layer.weight.data, DTensor)
    assert {name: weight.requires_grad for name, weight in layer.named_parameters()} == {"weight": False, "bias": True}


class Heads(nn.Module):
    """A norm of each head, of as many as there are."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.unflatten(-1, (-1, 2))).flatten(-2)


def layers(**between: nn.Module) -> nn.Module:
    first = nn.LayerNorm(4)
    return nn.Sequential(
        OrderedDict(first=first, up=nn.Linear(4, 8), **between, down=nn.Linear(8, 4), norm=nn.LayerNorm(4))
    )


def tied() -> nn.Module:
    """Layers whose first and last have one weight."""
    module = nn.Sequential(OrderedDict(begin=nn.Linear(4, 4), **dict(layers().named_children()), last=nn.Linear(4, 4)))
    module.last.weight = module.begin.weight
    return module


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False)


DIVIDED = {"down": Style("rowwise", output=1), "norm": Style("sequence"), "last": Style("colwise", input=1)}
CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, Style], str]] = {
    "a pair": (layers, PAIR, ""),
    "layers without weights in a pair": (lambda: layers(act=nn.GELU(), drop=nn.Dropout(0.5)), PAIR, ""),
    "a frozen layer in a pair": (lambda: layers(heads=frozen(Heads())), PAIR, ""),
    "a norm in a pair": (lambda: layers(heads=Heads()), PAIR, "the input of `net.heads.norm` is not the same on the 2"),
    "a norm in whole layers": (lambda: layers(heads=Heads()), {}, ""),
    "a norm by positions of a whole input": (
        layers,
        {**PAIR, "norm": Style("sequence")},
        "`net.norm` has the style `sequence` and the same input on all 2 tensor ranks",
    ),
    "a norm by positions that is frozen": (
        lambda: nn.Sequential(OrderedDict(norm=frozen(nn.LayerNorm(4)), up=nn.Linear(4, 4))),
        {"norm": Style("sequence")},
        "",
    ),
    "tied layers": (tied, PAIR, ""),
    "tied layers that are divided alike": (
        tied,
        {**PAIR, "begin": Style("colwise", output="replicate"), "last": Style("colwise", output="replicate")},
        "",
    ),
    "positions": (
        lambda: nn.Sequential(OrderedDict(**dict(layers().named_children()), last=nn.Linear(4, 4))),
        {"up": COLWISE, **DIVIDED, "last": Style("colwise", input=1, output="replicate")},
        "",
    ),
    "positions that a layer takes for all": (
        lambda: nn.Sequential(OrderedDict(**dict(layers().named_children()), last=nn.Linear(4, 4))),
        {"up": COLWISE, **DIVIDED, "last": COLWISE},
        "the input of `net.last` is not the same on the 2",
    ),
}


def gradients(module: nn.Module, x: Tensor) -> dict[str, list[Any]]:
    torch.manual_seed(1)  # of dropout
    module(x).pow(2).sum().backward()
    return {name: whole(weight.grad).tolist() for name, weight in module.named_parameters() if weight.grad is not None}


def outcome(make: Callable[[], nn.Module], styles: dict[str, Style], mesh: DeviceMesh) -> dict[str, Any]:
    """Return what a divided module's first call in training says, its gradients, and those of one process."""
    torch.manual_seed(0)
    module, x = make(), torch.randn(3, 6, 4)
    for weight in module.parameters():
        nn.init.normal_(weight.data)
    expected = gradients(copy.deepcopy(module), x)
    divide(module, mesh, styles, "net")
    with patch.object(same_inputs, "all_gather_object", wraps=same_inputs.all_gather_object) as gathered:
        module.eval()(x)
        evaluated = gathered.call_count
        try:
            found, said = gradients(module.train(), x), ""
        except MisfitError as error:
            return {"said": str(error)}
        first = gathered.call_count
        module(x)
    return {"said": said, "found": found, "expected": expected, "calls": [evaluated, first, gathered.call_count]}


def try_all() -> None:
    rank = os.environ["LOCAL_RANK"]
    distributed.init_process_group("gloo", f"file://{Path.cwd()}/store", rank=int(rank), world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    found = {name: outcome(make, styles, mesh) for name, (make, styles, _) in CASES.items()}
    Path(f"outcomes-{rank}.json").write_text(json.dumps(found))


@cache
def outcomes() -> list[dict[str, Any]]:
    launch(try_all, 2, None)
    return [json.loads(Path(f"outcomes-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("name", CASES)
def test_a_layer_whose_input_does_not_fit_its_style_is_refused_and_others_learn_as_in_one_process(name: str) -> None:
    message = CASES[name][2]
    for rank in outcomes():
        found = rank[name]
        assert message in found["said"]
        if message:
            continue
        assert found["said"] == ""
        evaluated, first, afterwards = found["calls"]
        assert (evaluated, afterwards) == (0, first)
        if name in ("a norm by positions that is frozen", "layers without weights in a pair"):
            continue  # one has the whole input on each rank; parts of the other share a mask
        assert found["found"].keys() == found["expected"].keys()
        for key, gradient in found["expected"].items():
            torch.testing.assert_close(torch.tensor(found["found"][key]), torch.tensor(gradient), msg=key)


def test_inputs_that_are_near_are_the_same_and_those_of_one_large_feature_are_not() -> None:
    one = torch.randn(8, 64)
    one[:, 3] = 1000.0
    other = torch.randn(8, 64)
    other[:, 3] = 1000.0
    assert same_inputs._is_near(one, one * (1 + 1e-3 * torch.randn(8, 64)))
    assert not same_inputs._is_near(one, other)
    assert not same_inputs._is_near(torch.arange(4), torch.tensor([0, 1, 2, 4]))


@pytest.mark.parametrize(
    ("styles", "is_one"),
    [
        ({}, True),
        ({"embed": ROWWISE, "head": COLWISE}, True),
        ({"embed": COLWISE, "head": COLWISE}, False),
        ({"head": COLWISE}, False),
    ],
)
def test_tied_weights_stay_one_if_they_are_divided_alike(
    styles: dict[str, Style], is_one: bool, mesh: DeviceMesh
) -> None:
    module = nn.ModuleDict({"embed": nn.Embedding(8, 4), "head": nn.Linear(4, 8, bias=False)})
    module["head"].weight = module["embed"].weight
    divide(module, mesh, styles)
    assert isinstance(module["head"].weight.data, DTensor)
    assert (module["head"].weight is module["embed"].weight) == is_one
