"""The estimate of a training step's memory against real steps: bytes of their tensors, and of torch's allocator.

The allocator also counts what a kernel takes for itself while it runs; the estimate cannot know that.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import lighter
from lighter._lightning.live_bytes import LiveBytes
from lighter.config import read
from lighter.engine.memory import estimate_memory
from lighter.errors import ConfigError
from tests.lightning.rungs import RUNGS, experiment

BATCH, WORDS, VOCABULARY = 8, 64, 500


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(32, 64, 2, batch_first=True), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Tied(nn.Module):
    """A small GPT: its embedding is its head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, 64)
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 256, dropout=0.1, batch_first=True), 3)
        self.head = nn.Linear(64, VOCABULARY, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.embed(x))).transpose(1, 2)


def fixed_convolutions() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(
            nn.Conv2d(16, 32, 3),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, 10),
        ),
    )


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 10))


def autoencoder() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.ConvTranspose2d(32, 16, 2, stride=2), nn.ReLU(), nn.ConvTranspose2d(16, 3, 2, stride=2)),
    )


def inputs(shape: tuple[int, ...], classes: int = 10) -> list[tuple[Tensor, Tensor]]:
    """Three batches: of words, of values with a class each, or of values to be drawn anew (no classes)."""
    if classes == VOCABULARY:
        words = torch.randint(VOCABULARY, (BATCH, *shape))
        return [(words, words)] * 3
    values = torch.randn(BATCH, *shape)
    return [(values, torch.randint(classes, (BATCH,)) if classes else values)] * 3


class Classifier(lighter.LighterModule):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return self.criterion(self.network(x), y)


NETWORKS = {
    "mlp": ("mlp", {"shape": [64]}),
    "convolutions": ("fixed_convolutions", {"shape": [3, 32, 32]}),
    "autoencoder": ("autoencoder", {"shape": [3, 32, 32], "classes": 0}),
    "transformer": ("Tied", {"shape": [WORDS], "classes": VOCABULARY}),
    "recurrent": ("Recurrent", {"shape": [20, 32]}),
}


def config_of(name: str, **trainer: Any) -> dict[str, Any]:
    network, data = NETWORKS[name]
    loss = "MSELoss" if data.get("classes") == 0 else "CrossEntropyLoss"
    return {
        "model": {
            "_target_": f"{__name__}.Classifier",
            "network": {"_target_": f"{__name__}.{network}"},
            "criterion": {"_target_": f"torch.nn.{loss}"},
            "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.001},
        },
        "data": {
            "_target_": "lighter.LighterDataModule",
            "train_dataloader": {
                "_target_": "torch.utils.data.DataLoader",
                "dataset": {"_target_": f"{__name__}.inputs", **data},
                "batch_size": None,
            },
        },
        "trainer": {"accelerator": "cpu", **trainer},
    }


def measured(name: str) -> tuple[int, int]:
    """The most bytes of a loop written by hand: of its tensors, and what torch's allocator had given."""
    network, data = NETWORKS[name]
    module, (x, y) = globals()[network](), inputs(tuple(data["shape"]), data.get("classes", 10))[0]
    criterion = nn.MSELoss() if data.get("classes") == 0 else nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.001)
    live = LiveBytes()
    for tensor in (x, y, *module.parameters(), *module.buffers()):
        live.see(tensor)
    before = sum(live.at_peak.values())
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded, live:
        for _ in range(2):
            loss = criterion(module(x), y)
            optimizer.zero_grad()
            loss.backward()
            del loss
            optimizer.step()
    changes = [item for item in recorded.profiler.kineto_results.events() if item.name() == "[memory]"]
    taken = accumulate(item.nbytes() for item in sorted(changes, key=lambda item: item.start_ns()))
    return sum(live.at_peak.values()), before + max(taken)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_estimate_is_within_a_tenth_of_the_tensors_bytes(name, own_place):
    memory = estimate_memory(read([config_of(name)]))
    tensors, allocated = measured(name)
    assert memory.peak == pytest.approx(tensors, rel=0.1)
    assert memory.peak == pytest.approx(allocated, rel=0.15)
    assert bool(memory.reason) == (name == "recurrent")
    assert not list(own_place.iterdir()), "nothing is written"


@pytest.mark.parametrize("rung", RUNGS)
def test_every_rung(rung, own_place):
    memory = estimate_memory(read([experiment(rung)]))
    weights = 4 * (64 * 32 + 32 + 32 * 10 + 10)
    assert (memory.parameters, memory.buffers, memory.optimizer) == (weights, 0, weights), "SGD with momentum"
    assert memory.batch == 16 * 64 * 4 + 16 * 8
    assert memory.activations > 0


def test_parameters_of_half_the_size(own_place):
    whole, half = (estimate_memory(read([config_of("mlp", precision=value)])) for value in ("32-true", "bf16-true"))
    assert half.parameters * 2 == whole.parameters
    mixed = estimate_memory(read([config_of("convolutions", precision="bf16-mixed")]))
    assert mixed.parameters == estimate_memory(read([config_of("convolutions")])).parameters
    assert half.reason == mixed.reason == ""


def test_a_network_that_fits_no_machine(own_place):
    config = config_of("mlp")
    config["model"]["network"] = {"_target_": "torch.nn.Linear", "in_features": 64, "out_features": 10**10}
    config["model"]["criterion"] = {"_target_": f"{__name__}.first"}
    memory = estimate_memory(read([config]))
    assert memory.parameters == 4 * 65 * 10**10
    assert memory.optimizer > 2 * memory.parameters


class first(nn.Module):  # noqa: N801  a loss
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x[0, 0]


def test_what_needs_values_is_measured(own_place):
    config = config_of("mlp")
    config["model"]["criterion"] = {"_target_": f"{__name__}.Looks"}
    memory = estimate_memory(read([config]))
    assert "aten._local_scalar_dense" in memory.reason
    assert memory.peak == pytest.approx(estimate_memory(read([config_of("mlp")])).peak, rel=0.05)


class Looks(nn.CrossEntropyLoss):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        loss = super().forward(x, y)
        return loss if loss.item() > 0 else loss * 2


def test_a_mistake_of_the_module_is_its_own(own_place):
    config = config_of("mlp")
    config["model"]["network"] = {"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 10}
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        estimate_memory(read([config]))


def test_no_untrusted_config(own_place):
    from lighter.config.safe import SafeMode

    with pytest.raises(ConfigError):
        estimate_memory(read([config_of("mlp")], SafeMode()))
