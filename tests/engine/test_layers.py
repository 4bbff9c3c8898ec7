"""Parameters, FLOPs and memory of each layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lighter.config import read
from lighter.engine.layers import summarize
from tests.lightning.compare import config_of
from tests.lightning.rungs import RUNGS, experiment

BATCH, WIDTH, HEADS, WORDS = 16, 8, 2, 5


@pytest.mark.parametrize("rung", RUNGS)
def test_an_mlp_on_every_rung(rung, own_place):
    found = summarize(read([experiment(rung)]))
    network = {"plain": "net", "steps": "network", "forward": "model", "system": "model"}[rung]
    layers = {layer.name: layer for layer in found.layers}
    first = layers[f"{network}.0"]
    assert (first.kind, first.parameters, first.trainable) == ("Linear", 64 * 32 + 32, 64 * 32 + 32)
    assert first.flops == 2 * BATCH * 64 * 32
    assert first.output == [(BATCH, 32)]
    assert first.output_bytes == BATCH * 32 * 4
    assert first.parameter_bytes == 4 * first.parameters
    assert layers[network].flops == first.flops + 2 * BATCH * 32 * 10 == found.total.flops
    assert found.total.parameters == layers[network].parameters
    assert found.batch == [(BATCH, 64), (BATCH,)]
    assert not list(own_place.iterdir()), "nothing is written"


def test_what_the_config_says_of_long_runs_does_not_matter(own_place):
    config = experiment("steps")
    config["trainer"] |= {
        "max_epochs": 0,
        "min_epochs": 3,
        "val_check_interval": 40,
        "check_val_every_n_epoch": None,
        "overfit_batches": 2,
        "profiler": "simple",
        "max_time": "00:00:00:01",
        "strategy": "ddp",
        "devices": 2,
        "fast_dev_run": True,
        "callbacks": [{"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "monitor": "not_there"}],
    }
    assert summarize(read([config])).total.flops > 0
    assert not list(own_place.iterdir())


class Attends(nn.Module):
    """Attention, which most counters leave out; a layer that is called twice, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(64, WORDS * WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.head = nn.Linear(WORDS * WIDTH, 10)
        self.unused = nn.Linear(3, 3).requires_grad_(False)

    def forward(self, x):
        words = self.embed(x).unflatten(1, (WORDS, WIDTH))
        mixed = self.attention(words, words, words, need_weights=False)[0].flatten(1)
        return self.head(mixed) + self.head(words.flatten(1))


def test_attention_counts():
    config = experiment("steps")
    config["model"]["network"] = {"_target_": "tests.engine.test_layers.Attends"}
    layers = {layer.name: layer for layer in summarize(read([config])).layers}
    projections = 2 * BATCH * WORDS * WIDTH * (3 * WIDTH) + 2 * BATCH * WORDS * WIDTH * WIDTH
    scores = 2 * 2 * BATCH * HEADS * WORDS * WORDS * (WIDTH // HEADS)
    assert layers["network.attention"].flops == projections + scores
    assert layers["network.head"].calls == 2
    assert layers["network.head"].flops == 2 * (2 * BATCH * WORDS * WIDTH * 10)
    assert (layers["network.unused"].calls, layers["network.unused"].trainable) == (0, 0)


def test_optimization_by_hand():
    """Only what the layers do going forward counts, however often there is a backward pass in between."""
    layers = {
        layer.name: layer
        for layer in summarize(read([config_of("model: {_target_: tests.lightning.jobs.Gan}")])).layers
    }
    assert layers["discriminator.0"].calls == 3
    assert layers["discriminator.0"].flops == 3 * (2 * BATCH * 64 * 32)


def test_observing_leaves_the_random_numbers_of_a_run_alone(config):
    torch.manual_seed(1)
    summarize(read([config]))
    assert torch.initial_seed() == config["seed"]
