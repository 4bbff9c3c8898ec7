"""Checkpoints of a module whose arguments differ by stage, or whose network is compiled in one of them only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

import lighter
from lighter import Runner
from lighter.errors import CheckpointError
from tests.jobs import Classifier, mlp
from tests.slow import mostly_slow


class Weighted(Classifier):
    """Has arguments of its own with state: one for training, one for the test; each under some name."""

    needed_for = {**lighter.LighterModule.needed_for, "teacher": {"train"}, "weights": {"train"}, "scale": {"test"}}

    def __init__(self, *args: Any, teacher: Any = None, weights: Any = None, scale: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher = teacher
        self.parts = nn.ModuleDict({} if teacher is None else {"teacher": nn.Linear(2, 2)})
        if weights is not None:
            self.register_buffer("class_weights", torch.tensor(weights))
        self.scale = scale

    def test_step(self, batch: Any, batch_idx: int) -> None:
        assert self.scale is not None
        assert self.teacher is None


class Plain(pl.LightningModule):
    """A module of Lightning's own around a network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.network(batch[0]), batch[1])

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.training_step(batch, batch_idx)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


def compiled() -> Any:
    return torch.compile(mlp(), backend="eager")


@pytest.fixture
def job(config: dict[str, Any]) -> dict[str, Any]:
    config["trainer"] |= {"max_epochs": 1, "limit_train_batches": 2}
    return config


def test_state_of_what_a_stage_leaves_out_is_expected_in_checkpoints(job: dict[str, Any]) -> None:
    layer = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 2}
    job["model"] |= {"_target_": f"{__name__}.Weighted", "teacher": layer, "weights": [1.0, 2.0], "scale": layer}
    Runner().run("fit", [job])
    Runner().run("test", [job], ckpt_path="last", verbose=False)
    Runner().run("fit", [job, "trainer::max_epochs=2"], ckpt_path="last")
    Runner().resume("last", ["trainer::max_epochs=3"])


def test_other_keys_are_not_expected(job: dict[str, Any]) -> None:
    job["model"] |= {"_target_": f"{__name__}.Weighted", "weights": [1.0, 2.0], "scale": 1}
    Runner().run("fit", [job])
    file = next(Path("outputs").glob("*/*/checkpoints/last.ckpt"))
    content = torch.load(file, weights_only=True)
    content["state_dict"]["network.9.weight"] = torch.zeros(2)
    torch.save(content, "other.ckpt")
    with pytest.raises(CheckpointError, match=r"Unexpected key\(s\) in state_dict: \"network.9.weight\"\."):
        Runner().run("test", [job], ckpt_path="other.ckpt", verbose=False)


@pytest.mark.parametrize("kind", [None, f"{__name__}.Plain"])
@pytest.mark.parametrize("makes", mostly_slow([(mlp, compiled), (compiled, mlp)]))
def test_a_network_is_compiled_in_one_of_two_stages(
    job: dict[str, Any], makes: tuple[Callable[[], nn.Module], ...], kind: str | None
) -> None:
    before, after = ({"_target_": f"{make.__module__}.{make.__name__}"} for make in makes)
    if kind is not None:
        job["model"] = {"_target_": kind}
        del job["data"]["val_dataloader"], job["vars"]
    job["model"]["network"] = before
    Runner().run("fit", [job])
    job["model"]["network"] = after
    Runner().run("test", [job], ckpt_path="last", verbose=False)
    outcome = Runner().execute("fit", [job, "trainer::max_epochs=2"], ckpt_path="last")
    assert outcome.trainer.global_step == 4


def test_in_a_script_too() -> None:
    weights = Classifier(compiled()).state_dict()
    module = Classifier(mlp())
    module.load_state_dict(weights)
    assert torch.equal(module.network[0].weight, weights["network._orig_mod.0.weight"])
