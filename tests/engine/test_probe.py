"""One training step before a run: on the meta device, or on the CPU with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lighter.config import read
from lighter.engine.probe import Probe, probe
from lighter.errors import ConfigError
from tests.jobs import Classifier


def probed(config: dict[str, Any], *overrides: str) -> Probe:
    return probe(read([config, *overrides]))


def test_shapes_on_the_meta_device(config: dict[str, Any], own_place: Path) -> None:
    found = probed(config)
    assert (found.device, found.reason, found.untouched) == ("meta", "", [])
    shapes = {layer.name: (layer.kind, layer.inputs, layer.output, layer.parameters) for layer in found.layers}
    assert shapes["network.0"] == ("Linear", "(32, 64)", "(32, 32)", 64 * 32 + 32)
    assert shapes["criterion"] == ("CrossEntropyLoss", "(32, 10), (32)", "()", 0)
    assert found.parameters == 64 * 32 + 32 + 32 * 10 + 10
    assert list(own_place.iterdir()) == []


def test_a_network_too_large_for_any_memory(config: dict[str, Any]) -> None:
    config["model"]["network"] = {
        "_target_": "torch.nn.Sequential",
        "_args_": [
            {"_target_": "torch.nn.Linear", "in_features": 64, "out_features": 10**9},
            {"_target_": "torch.nn.Linear", "in_features": 10**9, "out_features": 10},
        ],
    }
    found = probed(config)
    assert found.device == "meta"
    assert found.parameters > 7e10


def test_what_needs_values_runs_on_the_cpu(config: dict[str, Any], own_place: Path) -> None:
    config["model"]["_target_"] = "tests.engine.test_probe.LooksAtValues"
    found = probed(config)
    assert found.device == "cpu"
    assert "meta tensors" in found.reason
    assert [layer.name for layer in found.layers] == ["network.0", "network.1", "network.2", "network", "criterion"]
    assert found.untouched == ["unused"]
    assert found.batch.startswith("a list of 2: [a tensor of shape (32, 64)")
    assert list(own_place.iterdir()) == []


class LooksAtValues(Classifier):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unused = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        assert loss.item() > 0
        return loss


def test_a_plain_module(config: dict[str, Any]) -> None:
    config["model"] = {"_target_": "tests.jobs.PlainClassifier"}
    assert probed(config).parameters == 2410


def test_a_step_that_fails_keeps_its_exception_and_says_where(config: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        probed(config, "model::network={_target_: torch.nn.Linear, in_features: 63, out_features: 10}")
    first, second = caught.value.__notes__
    assert first.startswith(
        "while `model::network` (Python) ran, calling torch.nn.modules.linear.Linear.forward(input=<a tensor of"
    )
    assert second.startswith("while `model` (Python) ran, calling tests.jobs.Classifier.training_step(batch=<a list")


def test_what_is_built_must_fit_together(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="`trainer` must be a Trainer"):
        probed({**config, "trainer": {"_target_": "collections.Counter"}})
