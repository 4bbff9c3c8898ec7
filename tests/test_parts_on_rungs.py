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
from tests.jobs import Classifier, ForwardClassifier, mlp
from tests.test_system import system  # noqa: F401  a fixture


class Keep(pl.Callback):
    """Keeps the module that ran."""

    module: Any = None

    def on_fit_start(self, trainer, pl_module):
        Keep.module = pl_module


class TwoLosses(Classifier):
    def training_step(self, batch, batch_idx):
        pred = self(batch[0])
        return {"loss": {"ce_loss": self.criterion(pred, batch[1]), "size_loss": pred.square().mean()}}

    def validation_step(self, batch, batch_idx):
        return TwoLosses.training_step(self, batch, batch_idx)


class TwoCriteria(nn.Module):
    def forward(self, pred, target):
        return {"ce_loss": nn.functional.cross_entropy(pred, target), "size_loss": pred.square().mean()}


class TwoForwardLosses(ForwardClassifier):
    def forward(self, batch):
        pred = self.model(batch[0])
        ce = nn.functional.cross_entropy(pred, batch[1])
        return {"loss_dict": {"ce_loss": ce, "size_loss": pred.square().mean()}}


RUNGS = ["LighterModule", "ForwardModule", "System"]


def on_rung(rung: str, request: pytest.FixtureRequest) -> tuple[dict[str, Any], str]:
    """The digits experiment on one of the rungs, and the section of its module."""
    if rung == "System":
        return request.getfixturevalue("system"), "system"
    config = request.getfixturevalue("config")
    if rung == "ForwardModule":
        model = config["model"]
        config["model"] = {"_target_": "tests.jobs.ForwardClassifier", "model": model["network"]}
        config["model"] |= {"optimizer": model["optimizer"], "evaluator_cfg": model["val_metrics"]}
    return config, "model"


def network_of(module: Any) -> nn.Module:
    return module.network if hasattr(module, "network") else module.model


@pytest.fixture(params=RUNGS)
def rung(request: pytest.FixtureRequest) -> tuple[dict[str, Any], str]:
    """A config of any rung, and the section of its module."""
    config, section = on_rung(request.param, request)
    config["trainer"] |= {"callbacks": [{"_target_": "tests.test_parts_on_rungs.Keep"}], "max_epochs": 1}
    return config, section


def test_finetune_trains_only_what_is_named(rung: tuple[dict[str, Any], str]) -> None:
    config, section = rung
    config[section]["finetune_cfg"] = "2"
    Runner().run("fit", [config])
    network = network_of(Keep.module)
    torch.manual_seed(0)
    assert [parameter.requires_grad for parameter in network.parameters()] == [False, False, True, True]
    [group] = Keep.module.trainer.optimizers[0].param_groups
    assert len(group["params"]) == 2


def test_finetune_freezes_what_is_named(rung: tuple[dict[str, Any], str]) -> None:
    config, section = rung
    config[section]["finetune_cfg"] = {"finetune": False, "params": ["0.weight"]}
    Runner().run("fit", [config, "trainer::fast_dev_run=true"])
    frozen = [name for name, parameter in Keep.module.named_parameters() if not parameter.requires_grad]
    assert frozen in (["network.0.weight"], ["model.0.weight"])


def test_loss_weights(rung: tuple[dict[str, Any], str]) -> None:
    config, section = rung
    config[section].pop("evaluator_cfg", None)
    if section == "model":
        kind = "TwoForwardLosses" if "model" in config["model"] else "TwoLosses"
        config["model"]["_target_"] = f"tests.test_parts_on_rungs.{kind}"
    else:
        config["system"]["criterion"] = {"_target_": "tests.test_parts_on_rungs.TwoCriteria"}
    config[section]["loss_weights"] = {"size_loss": 0.5}
    Runner().run("fit", [config])
    values = {name: float(value) for name, value in Keep.module.trainer.callback_metrics.items()}
    for mode in ("train", "val"):
        total = values[f"{mode}/loss/ce_loss/epoch"] + values[f"{mode}/loss/size_loss/epoch"]
        assert values[f"{mode}/loss/total/epoch"] == pytest.approx(total, rel=1e-5)
    config[section]["loss_weights"] = {"sise_loss": 0.5}
    with pytest.raises(
        ModuleValueError,
        match=r"`loss_weights` names `sise_loss`, and the step's losses are \['ce_loss', 'size_loss'\]",
    ):
        Runner().run("fit", [config])


def test_wrong_parts_have_a_place_in_the_config(rung: tuple[dict[str, Any], str]) -> None:
    config, section = rung
    with pytest.raises(ConfigError, match=rf"{section}: `loss_weights` is a dict of numbers; found a list of 1"):
        Runner().run("fit", [config, f"{section}::loss_weights=[1]"])
    with pytest.raises(ConfigError, match=rf"{section}: `finetune_cfg` is a int \(3\). It is one of"):
        Runner().run("fit", [config, f"{section}::finetune_cfg=3"])
    with pytest.raises(ModuleValueError, match=r"no parameter's name starts with `hed`. There is: 0, 2"):
        Runner().run("fit", [config, f"{section}::finetune_cfg=hed"])


def test_names_of_a_compiled_network_are_its_own(config: dict[str, Any]) -> None:
    config["model"]["network"] = {"_target_": "tests.test_parts_on_rungs.compiled"}
    config["model"]["optimizer"]["params"] = [{"params": "2.bias", "lr": 0.1}, {"params": None}]
    config["model"]["finetune_cfg"] = "2"
    config["trainer"]["callbacks"] = [{"_target_": "tests.test_parts_on_rungs.Keep"}]
    Runner().run("fit", [config, "trainer::fast_dev_run=true"])
    assert [group["lr"] for group in Keep.module.trainer.optimizers[0].param_groups] == [0.1, 0.01]


def compiled() -> Any:
    return torch.compile(mlp(), backend="eager")


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
    network = network_of(Keep.module)
    assert torch.equal(network[0].weight, state["0.weight"])
    assert not torch.equal(network[2].weight, state["2.weight"])
    Runner().run("test", [config, f"{section}::ckpt_path=nowhere.pt"], verbose=False)  # a test starts from --ckpt_path
    with pytest.raises(ConfigError, match=rf"{section}: `ckpt_path`: there is no file nowhere.pt"):
        Runner().run("fit", [config, f"{section}::ckpt_path=nowhere.pt"])
