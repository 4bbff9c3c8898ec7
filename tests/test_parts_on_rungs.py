"""The parts that `BaseModule` holds, from YAML, on each rung that has them: a test for each pair."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lighter import Runner
from lighter.errors import ConfigError, ModuleTypeError, ModuleValueError
from lighter.parts.finetune import Finetune
from lighter.parts.loss_weights import LossWeights
from tests.jobs import Classifier, mlp
from tests.test_system import system  # noqa: F401  a fixture


class Keep(pl.Callback):
    """Keeps the module that ran."""

    module: Any = None

    def on_fit_start(self, trainer, pl_module):
        Keep.module = pl_module


class TwoLosses(Classifier):
    def training_step(self, batch, batch_idx):
        pred = self(batch[0])
        return {"loss": {"ce": self.criterion(pred, batch[1]), "size": pred.square().mean()}}

    def validation_step(self, batch, batch_idx):
        return TwoLosses.training_step(self, batch, batch_idx)


class TwoCriteria(nn.Module):
    def forward(self, pred, target):
        return {"ce": nn.functional.cross_entropy(pred, target), "size": pred.square().mean()}


@pytest.fixture(params=["LighterModule", "System"])
def rung(request: pytest.FixtureRequest, config: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """A config of either layout, and the section of its module."""
    section = "model"
    if request.param == "System":
        config, section = request.getfixturevalue("system"), "system"
    config["trainer"] |= {"callbacks": [{"_target_": "tests.test_parts_on_rungs.Keep"}], "max_epochs": 1}
    return config, section


def test_finetune_trains_only_what_is_named(rung: tuple[dict[str, Any], str]) -> None:
    config, section = rung
    config[section]["finetune_cfg"] = "2"
    Runner().run("fit", [config])
    network = Keep.module.network if section == "model" else Keep.module.model
    torch.manual_seed(0)
    assert [parameter.requires_grad for parameter in network.parameters()] == [False, False, True, True]
    [group] = Keep.module.trainer.optimizers[0].param_groups
    assert len(group["params"]) == 2


def test_finetune_freezes_what_is_named(rung: tuple[dict[str, Any], str]) -> None:
    config, section = rung
    config[section]["finetune_cfg"] = {"finetune": False, "params": ["0.weight"]}
    Runner().run("fit", [config, "trainer::fast_dev_run=true"])
    frozen = [name for name, parameter in Keep.module.named_parameters() if not parameter.requires_grad]
    assert frozen == [("network" if section == "model" else "model") + ".0.weight"]


def test_loss_weights(rung: tuple[dict[str, Any], str]) -> None:
    config, section = rung
    if section == "model":
        config["model"]["_target_"] = "tests.test_parts_on_rungs.TwoLosses"
    else:
        config["system"]["criterion"] = {"_target_": "tests.test_parts_on_rungs.TwoCriteria"}
    config[section]["loss_weights"] = {"size": 0.5}
    Runner().run("fit", [config])
    values = {name: float(value) for name, value in Keep.module.trainer.callback_metrics.items()}
    for mode in ("train", "val"):
        total = values[f"{mode}/loss/ce/epoch"] + values[f"{mode}/loss/size/epoch"]
        assert values[f"{mode}/loss/total/epoch"] == pytest.approx(total, rel=1e-5)
    config[section]["loss_weights"] = {"sise": 0.5}
    with pytest.raises(
        ModuleValueError, match=r"`loss_weights` names `sise`, and the step's losses are \['ce', 'size'\]"
    ):
        Runner().run("fit", [config])


def test_wrong_parts_have_a_place_in_the_config(rung: tuple[dict[str, Any], str]) -> None:
    config, section = rung
    with pytest.raises(
        ConfigError, match=rf"{section}::loss_weights: .*`loss_weights` is Mapping\[str, float\] or null; found \[1\]"
    ):
        Runner().run("fit", [config, f"{section}::loss_weights=[1]"])
    with pytest.raises(ConfigError, match=rf"{section}: `finetune_cfg` is a int \(3\). It is one of"):
        Runner().run("fit", [config, f"{section}::finetune_cfg=3"])
    with pytest.raises(ModuleValueError, match=r"no parameter's name starts with `hed`. There is: 0, 2"):
        Runner().run("fit", [config, f"{section}::finetune_cfg=hed"])


def test_layers_made_in_configure_model_are_frozen_too(config: dict[str, Any]) -> None:
    config["model"] |= {"_target_": "tests.test_parts_on_rungs.Late", "finetune_cfg": ["head"]}
    config["trainer"]["callbacks"] = [{"_target_": "tests.test_parts_on_rungs.Keep"}]
    Runner().run("fit", [config, "trainer::fast_dev_run=true"])
    assert [name for name, p in Keep.module.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]


class Late(Classifier):
    def configure_model(self):
        self.head = nn.Linear(10, 10)

    def forward(self, x):
        return self.head(super().forward(x))


def test_finetune_leaves_frozen_what_was_frozen() -> None:
    network = mlp()
    network[2].bias.requires_grad_(False)
    frozen = Finetune({"params": "2"}).apply(list(network.named_parameters()))
    assert frozen == ["0.weight", "0.bias"]
    assert not network[2].bias.requires_grad


@pytest.mark.parametrize("given", [[], {"params": []}, {"finetune": 1, "params": ["a"]}, {"parms": ["a"]}, [1]])
def test_wrong_choices(given: Any) -> None:
    with pytest.raises(ModuleTypeError, match="It is one of"):
        Finetune(given)


def test_one_loss_cannot_be_weighed(config: dict[str, Any]) -> None:
    with pytest.raises(ModuleTypeError, match="`loss_weights` needs named losses, and `training_step` returned one"):
        Classifier(mlp(), nn.CrossEntropyLoss(), loss_weights={"a": 1}).training_step(
            [torch.zeros(1, 64), torch.zeros(1, dtype=torch.long)], 0
        )
    assert LossWeights({"a": 2}).apply({"a": torch.ones(()), "b": torch.ones(())})["total"] == 3


def test_initial_weights(rung: tuple[dict[str, Any], str]) -> None:
    config, section = rung
    state = mlp().state_dict()
    torch.save(state, "pretrained.pt")
    config[section] |= {"ckpt_path": "pretrained.pt", "ckpt_match": 0.9, "finetune_cfg": "2"}
    Runner().run("fit", [config])
    network = Keep.module.network if section == "model" else Keep.module.model
    assert torch.equal(network[0].weight, state["0.weight"])
    assert not torch.equal(network[2].weight, state["2.weight"])
    Runner().run("test", [config, f"{section}::ckpt_path=nowhere.pt"], verbose=False)  # a test starts from --ckpt_path
    with pytest.raises(ConfigError, match=rf"{section}::ckpt_path: there is no checkpoint nowhere.pt"):
        Runner().run("fit", [config, f"{section}::ckpt_path=nowhere.pt"])
