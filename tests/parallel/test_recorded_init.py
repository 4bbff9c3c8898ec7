"""Networks that are made without memory get the bits of those that are made at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lighter._lightning.recorded_init import Recording, UnrecordableError, fill, refuse_loose
from lighter.config import read
from lighter.engine.parallel import module_without_memory
from lighter.engine.plan import plan_of
from tests.parallel.fits import config
from tests.parallel.jobs import Model, Tiny


class Odd(nn.Module):
    """Whatever initializers do, in one module."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.tied = nn.Linear(8, 8), nn.Linear(8, 8)
        nn.init.orthogonal_(self.linear.weight)
        nn.init.trunc_normal_(self.tied.weight, std=0.02)  # in torch, a loop that looks at values
        self.tied.weight = self.linear.weight
        self.lstm, self.attention = nn.LSTM(4, 8, 2), nn.MultiheadAttention(8, 2)
        self.embedding = nn.Embedding(10, 4, padding_idx=0)
        self.scale = nn.Parameter(torch.randn(3, 4) * 0.5 + torch.tensor([1.0, 2.0, 3.0, 4.0]))
        self.register_buffer("mask", torch.tril(torch.ones(4, 4)).bool())
        self.register_buffer("table", torch.from_numpy(np.arange(3.0)), persistent=False)
        self.rates = [rate.item() for rate in torch.linspace(0, 0.5, 3)]
        self.norm, self.conv = nn.BatchNorm1d(4), nn.ConvTranspose2d(3, 4, 3)
        self.dropped = nn.Parameter(nn.functional.dropout(torch.ones(30), 0.5))
        self.halves = nn.Parameter(torch.empty(20, 10, dtype=torch.bfloat16), requires_grad=False)
        with torch.no_grad():
            self.halves[:10].normal_()
            self.halves[10:].uniform_()
            self.halves.mul_(self.halves.std())
        self.apply(self.init)

    def init(self, part: nn.Module) -> None:
        if isinstance(part, nn.Linear) and part.bias is not None and not part.weight.is_meta:
            nn.init.zeros_(part.bias)
            part.weight.data *= 0.9


def tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers())}


@pytest.mark.parametrize("make", [Tiny, Odd, lambda: nn.TransformerEncoderLayer(16, 2, 32)])
def test_weights_have_the_bits_of_a_network_that_is_made_at_once(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(3)
    expected, drawn = make(), torch.rand(3)
    torch.manual_seed(3)
    recording = Recording()
    with recording.on(new=True):
        module = make()
    assert torch.equal(torch.rand(3), drawn)  # what is drawn afterwards is the same too
    assert all(parameter.is_meta for parameter in module.parameters())
    for _, part in reversed([*module.named_children()]):  # in any order, part by part
        if not isinstance(module, Odd):
            fill(part, recording)
    fill(module, recording)
    assert tensors(module).keys() == tensors(expected).keys()
    for name, tensor in tensors(expected).items():
        made = tensors(module)[name]
        assert torch.equal(made, tensor), name
        assert (made.stride(), made.dtype, made.requires_grad) == (tensor.stride(), tensor.dtype, tensor.requires_grad)
    if isinstance(module, Odd):
        assert module.tied.weight is module.linear.weight
        assert module.rates == expected.rates


def test_changes_of_the_weights_after_the_network_is_made_are_recorded_too() -> None:
    recording = Recording()
    with recording.on(new=True):
        layer = nn.Linear(2, 2)
    with recording.on(new=False):
        nn.init.ones_(layer.weight)
        other = nn.Linear(2, 2)
    assert not other.weight.is_meta
    fill(layer, recording)
    assert torch.equal(layer.weight, torch.ones(2, 2))


def test_a_value_that_torch_drops_cannot_be_recorded() -> None:
    def make() -> Tensor:
        weight = torch.ones(4)
        weight[torch.randperm(4)[:2]] = 0
        return weight

    with pytest.raises(UnrecordableError), Recording().on(new=True):
        make()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.poisson(torch.full((4,), 30.0)),
        lambda: torch.distributions.Gamma(torch.full((4,), 0.5), torch.ones(4)).sample(),
        lambda: torch.distributions.Dirichlet(torch.ones(4)).sample(),
        lambda: torch.binomial(torch.full((4,), 10.0), torch.full((4,), 0.5)),
        lambda: torch.multinomial(torch.ones(4), 2),
        lambda: nn.functional.rrelu(torch.randn(4), training=True),
    ],
)
def test_draws_whose_count_depends_on_values_cannot_be_recorded(draw: Callable[[], Tensor]) -> None:
    with pytest.raises(UnrecordableError), Recording().on(new=True):
        draw()


def test_one_part_needs_the_memory_of_that_part() -> None:
    recording = Recording()
    with recording.on(new=True):
        module = nn.Sequential(*(nn.Linear(4, 4) for _ in range(5)))
    fill(module[2], recording)
    assert [layer.weight.is_meta for layer in module] == [True, True, False, True, True]


def test_meta_tensors_of_the_user_stay_so() -> None:
    recording = Recording()
    with recording.on(new=True), warnings.catch_warnings():
        layer = nn.Linear(2, 2, device="meta")
    assert layer.weight not in recording


class Loose(nn.Linear):
    """Has something else than parameters, buffers and modules."""

    def __init__(self, make: Callable[[nn.Linear], object]) -> None:
        super().__init__(2, 2)
        self.loose = make(self)


@pytest.mark.parametrize(
    "make",
    [
        lambda layer: torch.ones(3),
        lambda layer: [torch.ones(3)],
        lambda layer: {"masks": (torch.ones(3), 1)},
        lambda layer: [nn.Linear(2, 2)],
        lambda layer: layer.weight[0],
    ],
)
def test_tensors_that_are_no_parameters_or_buffers_cannot_be_filled(make: Callable[[nn.Linear], object]) -> None:
    recording = Recording()
    with recording.on(new=True):
        module = nn.Sequential(Loose(make))
    with pytest.raises(UnrecordableError, match=r"`0\.loose` has a tensor that is neither a parameter nor a buffer"):
        refuse_loose(module, recording)


@pytest.mark.parametrize("make", [lambda layer: layer.weight.shape, lambda layer: [layer.weight, "name", np.ones(2)]])
def test_other_attributes_are_in_no_way(make: Callable[[nn.Linear], object]) -> None:
    recording = Recording()
    with recording.on(new=True):
        module = nn.Sequential(Loose(make), nn.LSTM(2, 2))
    refuse_loose(module, recording)


class WithSetup(Model):
    def setup(self, stage: str) -> None:
        pass


def without_memory(**model: Any) -> Any:
    objects = read([config("fsdp", **model)]).objects()
    return module_without_memory(objects, plan_of(objects, "fit"))


def test_the_network_of_a_config_has_no_memory_yet() -> None:
    module, recording = without_memory()
    assert {parameter.is_meta for parameter in module.parameters()} == {True}
    assert all(parameter in recording for parameter in module.parameters())


@pytest.mark.parametrize(
    "model",
    [
        {"_target_": "tests.parallel.test_recorded_init.WithSetup"},
        {"network": {"_target_": "tests.parallel.jobs.Scaled"}},
    ],
)
def test_a_network_that_may_not_be_made_in_parts(model: dict[str, Any]) -> None:
    assert without_memory(**model) == (None, None)
