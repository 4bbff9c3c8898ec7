"""Networks without weights: made on the meta device or in `configure_model`, and what is sharded over GPUs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lighter.errors import ModuleValueError
from tests.lightning.compare import by_hand, equal, with_lighter
from tests.lightning.rungs import RUNGS, experiment

EMPTY = {"_target_": "tests.lightning.test_sharding.empty"}
OURS = [rung for rung in RUNGS if rung != "plain"]


class CountingLinear(nn.Linear):
    """Counts how often its weights are made."""

    made = 0

    def reset_parameters(self):
        super().reset_parameters()
        CountingLinear.made += not self.weight.is_meta


def empty() -> nn.Sequential:
    """`tests.jobs.mlp` without memory."""
    with torch.device("meta"):
        return nn.Sequential(CountingLinear(64, 32), nn.ReLU(), CountingLinear(32, 10))


class WithoutReset(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(64, device="meta"))

    def forward(self, x):
        return (x * self.scale)[:, :10]


def on_meta(rung, more="", network=EMPTY):
    config = experiment(rung, more)
    section = "system" if rung == "system" else "model"
    config[section]["network" if rung == "steps" else "model"] = network
    return config


@pytest.mark.parametrize("rung", OURS)
def test_weights_are_made_once_and_are_those_of_a_network_with_memory(rung):
    CountingLinear.made = 0
    ours, plain = with_lighter(on_meta(rung)), by_hand(experiment("plain"))
    assert CountingLinear.made == 2
    assert equal([*ours.weights.values()], [*plain.weights.values()])


def test_evaluation_has_weights_too():
    result = with_lighter(on_meta("steps"), "validate", verbose=False).result
    assert 2.2 < result[0]["val/loss/epoch"] < 2.5  # of ten classes that nobody has learned yet


def test_initial_weights_come_after_the_weights_are_made(own_place):
    trained = with_lighter(experiment("steps"))
    torch.save({f"network.{k}": v for k, v in trained.module.network.state_dict().items()}, "start.pt")
    config = on_meta("steps", "trainer: {limit_train_batches: 0, limit_val_batches: 0}")
    config["model"]["ckpt_path"] = "start.pt"
    assert equal([*with_lighter(config).weights.values()], [*trained.weights.values()])


def test_a_part_that_cannot_be_made_later_is_named():
    with pytest.raises(ModuleValueError, match=r"`network` \(WithoutReset\) cannot be made on the meta device"):
        with_lighter(on_meta("steps", network={"_target_": "tests.lightning.test_sharding.WithoutReset"}))


def test_configure_model_makes_the_network():
    """As Lightning documents it for FSDP; the optimizer that the config defines takes what was made there."""
    config = experiment("steps", name="MadeLate")
    config["model"]["network"] = None
    ours, plain = with_lighter(config), by_hand(experiment("plain"))
    assert equal([*ours.weights.values()], [*plain.weights.values()])


def test_groups_by_name_see_through_wrappers():
    config = experiment("steps")
    config["model"]["network"] = {
        "_target_": "torch.compile",
        "model": {"_target_": "tests.jobs.mlp"},
        "backend": "eager",
    }
    config["model"]["optimizer"]["params"] = [{"params": "0", "lr": 0.01}, {"params": None}]
    first, rest = with_lighter(config).trainer.optimizers[0].param_groups
    assert (len(first["params"]), len(rest["params"])) == (2, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("rung", OURS)
def test_fsdp_makes_the_weights_of_its_shards(rung):
    CountingLinear.made = 0
    config = on_meta(rung, "trainer: {strategy: fsdp, accelerator: gpu, devices: 1}")
    ours = with_lighter(config)
    assert CountingLinear.made == 2
    losses = [value for _, value in ours.column("train/loss/total/step" if rung == "forward" else "train/loss/step")]
    assert losses[-1] < losses[0]
