"""`Freezer` on two processes (CPU, gloo): the same training as on one, and no work for what is frozen."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Callback
from torch.nn.parallel import DistributedDataParallel

from lighter import Runner
from tests.jobs import Classifier
from tests.test_ddp import TWO, run


class Shared(Classifier):
    """Each process trains on its share of the same batch."""

    def training_step(self, batch, batch_idx):
        share = slice(self.global_rank, None, self.trainer.world_size)
        return super().training_step([part[share] for part in batch], batch_idx)


class Report(Callback):
    """Writes what trained in each step, how often the module was wrapped, and the weights at the end."""

    def __init__(self) -> None:
        self.steps: list[list[str]] = []
        self.wrappers: list[Any] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append([name for name, p in pl_module.network.named_parameters() if p.grad is not None])
        wrapper = trainer.strategy.model
        if isinstance(wrapper, DistributedDataParallel) and wrapper not in [seen() for seen in self.wrappers]:
            self.wrappers.append(weakref.ref(wrapper))

    def on_train_end(self, trainer, pl_module):
        weights = {name: p.flatten().tolist() for name, p in pl_module.network.named_parameters()}
        alive = [seen() is not None for seen in self.wrappers]
        Path(f"report-{trainer.world_size}-{trainer.global_rank}.json").write_text(
            json.dumps({"steps": self.steps, "alive": alive, "weights": weights})
        )


def report(world: int, rank: int) -> dict[str, Any]:
    return json.loads(Path(f"report-{world}-{rank}.json").read_text())


@pytest.fixture
def frozen(config: dict[str, Any]) -> dict[str, Any]:
    """320 digits, 10 steps an epoch; the first layer trains from step 10 on, a bias from 13."""
    config["data"]["train_dataloader"]["shuffle"] = False
    config["trainer"]["use_distributed_sampler"] = False
    config["model"]["_target_"] = "tests.callbacks.test_freezer_ddp.Shared"
    config["model"]["optimizer"] = {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    freezers = [{"names": "0", "until_step": 10}, {"names": ["0.bias", "2.bias"], "until_step": 13}]
    config["trainer"]["callbacks"] = [
        *({"_target_": "lighter.callbacks.Freezer", **freezer} for freezer in freezers),
        {"_target_": "tests.callbacks.test_freezer_ddp.Report"},
    ]
    return config


@pytest.mark.slow
def test_two_processes_train_as_one_does(frozen: dict[str, Any]) -> None:
    Runner().run("fit", [frozen])
    run("fit", frozen, *TWO)
    one, first, second = report(1, 0), report(2, 0), report(2, 1)
    assert first == second
    expected = [["2.weight"]] * 10 + [["0.weight", "2.weight"]] * 3 + [["0.weight", "0.bias", "2.weight", "2.bias"]] * 7
    assert first["steps"] == one["steps"] == expected
    assert first["alive"] == [False, False, True]  # wrapped anew when something changed, and the old ones are gone
    for name, weight in one["weights"].items():
        assert first["weights"][name] == pytest.approx(weight, rel=1e-4, abs=1e-5)
