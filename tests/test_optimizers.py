"""Optimizers and schedulers in every form that a config or Python can give them."""

from __future__ import annotations

import math
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import IterableDataset

import lighter
from lighter import Runner
from lighter.config import read
from lighter.config.deferred import defer
from lighter.config.objects import Objects
from lighter.errors import ConfigError, ModuleTypeError, ModuleValueError
from tests.jobs import Classifier, mlp
from tests.test_parts_on_rungs import Rates

ADAM = {"_target_": "torch.optim.Adam", "lr": 0.01}


class Keeping(Classifier):
    """Keeps what it was asked to configure where a test finds it."""

    latest: Any = None

    def configure_optimizers(self):
        Keeping.latest = self
        self.configured = super().configure_optimizers()
        return self.configured


def run(config: dict[str, Any], *overrides: str, **model: Any) -> Keeping:
    config["model"] |= {"_target_": "tests.test_optimizers.Keeping", **model}
    Runner().run("fit", [config, "trainer::max_epochs=1", "trainer::limit_train_batches=3", *overrides])
    return Keeping.latest


def names_of(module: pl.LightningModule, parameters: Any) -> list[str]:
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    return [names[id(parameter)] for parameter in parameters]


def half_frozen() -> nn.Module:
    network = mlp()
    network[0].requires_grad_(False)
    return network


WEIGHT_0, BIAS_0, WEIGHT_2, BIAS_2 = (f"network.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias"))
EVERY = [WEIGHT_0, BIAS_0, WEIGHT_2, BIAS_2]
BY_NAME = [{"params": 0, "lr": 1e-4}, {"params": [BIAS_2], "weight_decay": 0.1}, {"params": None}]
BY_TYPE = [{"params": {"type": ["norm", "bias"], "name": 2}, "lr": 1e-4}, {"params": "*.bias"}, {"params": None}]


HALF_FROZEN = {"_target_": "tests.test_optimizers.half_frozen"}
THREE_RATES = [1e-4, 0.01, 0.01]


@pytest.mark.parametrize(
    ("model", "overrides", "groups", "rates"),
    [
        ({"optimizer": ADAM}, [], [EVERY], [0.01]),
        ({"optimizer": {**ADAM, "params": "$@model::network.parameters()"}}, [], [EVERY], [0.01]),
        ({"optimizer": ADAM, "network": HALF_FROZEN}, [], [[WEIGHT_2, BIAS_2]], [0.01]),
        ({"optimizer": {**ADAM, "lr": "@vars::lr"}}, ["vars::lr=1e-4"], [EVERY], [1e-4]),
        ({"optimizer": "%vars::adam"}, ["vars::adam::lr=0.2"], [EVERY], [0.2]),
        ({"optimizer": {**ADAM, "params": BY_NAME}}, [], [[WEIGHT_0, BIAS_0], [BIAS_2], [WEIGHT_2]], THREE_RATES),
        ({"optimizer": {**ADAM, "params": BY_TYPE}}, [], [[BIAS_2], [BIAS_0], [WEIGHT_0, WEIGHT_2]], THREE_RATES),
    ],
    ids=["by default", "written out", "frozen", "vars", "shared by copy", "by name", "by type"],
)
def test_parameters_and_learning_rates(
    config: dict[str, Any], model: dict[str, Any], overrides: list[str], groups: list[list[str]], rates: list[float]
) -> None:
    config["vars"] |= {"lr": 0.5, "adam": {**ADAM, "lr": 0.3}}
    module = run(config, *overrides, **model)
    built = module.configured["optimizer"].param_groups
    assert [names_of(module, group["params"]) for group in built] == groups
    assert [group["lr"] for group in built] == rates
    logged = module.trainer.callback_metrics
    assert ("train/optimizer/Adam/lr/group1/epoch" in logged) == (len(groups) > 1)


@pytest.mark.parametrize("reference", [{}, {"optimizer": "@model::optimizer"}])
def test_a_scheduler_with_and_without_its_optimizer(config: dict[str, Any], reference: dict[str, str]) -> None:
    scheduler = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1, **reference}
    module = run(config, optimizer=ADAM, scheduler=scheduler)
    assert module.configured["lr_scheduler"].optimizer is module.configured["optimizer"]
    assert module.configured["optimizer"].param_groups[0]["lr"] == pytest.approx(0.001)


def test_a_scheduler_dict_of_lightning(config: dict[str, Any]) -> None:
    scheduler = {
        "scheduler": {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 0.5},
        "interval": "step",
        "frequency": 1,
    }
    module = run(config, optimizer=ADAM, scheduler=scheduler)
    assert module.configured["lr_scheduler"]["interval"] == "step"
    assert module.configured["optimizer"].param_groups[0]["lr"] == pytest.approx(0.01 * 0.5**3)


def test_a_plateau_scheduler_monitors_a_value_of_ours(config: dict[str, Any]) -> None:
    scheduler = {
        "scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 0, "threshold": 100.0},
        "monitor": "val/loss/epoch",
    }
    module = run(config, "trainer::max_epochs=2", optimizer=ADAM, scheduler=scheduler)
    # nothing is better by a factor of 100, so both epochs divide by ten
    assert module.configured["optimizer"].param_groups[0]["lr"] == pytest.approx(0.0001)


@pytest.mark.parametrize(
    ("entry", "alone"),
    [
        (
            # nothing is better by a factor of 100, so each epoch divides by ten
            {
                "scheduler": {
                    "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau",
                    "patience": 0,
                    "threshold": 100.0,
                },
                "monitor": "val/loss/epoch",
            },
            lambda t: 0.01 * 0.1 ** (t // 10),
        ),
        (
            {
                "scheduler": {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 20, "eta_min": 0.001},
                "interval": "step",
            },
            lambda t: 0.001 + 0.009 * (1 + math.cos(math.pi * t / 20)) / 2,
        ),
    ],
)
def test_lightning_steps_a_scheduler_beside_a_warm_up(config: dict[str, Any], entry: Any, alone: Any) -> None:
    config["trainer"]["callbacks"] = [{"_target_": "tests.test_parts_on_rungs.Rates"}]
    config["model"]["scheduler"] = {**entry, "warmup": {"steps": 15, "start_factor": 0.0}}
    Runner().run("fit", [config])
    assert Rates.used == pytest.approx([min(1, t / 15) * alone(t) for t in range(20)])


def test_a_scheduler_that_reads_other_parts_of_the_config(config: dict[str, Any]) -> None:
    scheduler = {
        "_target_": "torch.optim.lr_scheduler.CosineAnnealingLR",
        "T_max": "@trainer::max_epochs",
        "eta_min": "$@model::optimizer::lr / 10",
    }
    module = run(config, optimizer=ADAM, scheduler=scheduler)
    assert module.configured["lr_scheduler"].T_max == 1
    assert module.configured["lr_scheduler"].eta_min == pytest.approx(0.001)


STEPS = "@trainer.estimated_stepping_batches"
ONE_CYCLE = {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.1, "total_steps": f"${STEPS}"}


@pytest.mark.parametrize(
    ("trainer", "steps"),
    [
        ({}, 3),
        ({"limit_train_batches": 7, "accumulate_grad_batches": 3, "max_epochs": 2}, 6),
        ({"limit_train_batches": 0.5, "accumulate_grad_batches": 2, "max_epochs": 2}, 6),
        ({"limit_train_batches": 7, "max_epochs": 3, "max_steps": 4}, 4),
    ],
)
def test_the_number_of_optimizer_steps(config: dict[str, Any], trainer: dict[str, Any], steps: int) -> None:
    config["vars"]["steps"] = f"${STEPS}"  # also by a detour
    scheduler = {"scheduler": ONE_CYCLE, "interval": "step", "warmup": {"steps": "$1 + @vars::steps // 4"}}
    overrides = [f"trainer::{key}={value}" for key, value in trainer.items()]
    module = run(config, *overrides, optimizer=ADAM, scheduler=scheduler)
    assert module.configured["lr_scheduler"]["scheduler"].total_steps == steps == module.trainer.global_step
    assert module.trainer.resume_choice.name == "exact"


@pytest.mark.parametrize("scheduler", [{"scheduler": ONE_CYCLE, "interval": "step"}, ONE_CYCLE])
def test_the_number_of_steps_of_data_without_a_length(config: dict[str, Any], scheduler: dict[str, Any]) -> None:
    config["model"] |= {"optimizer": ADAM, "scheduler": scheduler}
    loader = config["data"]["train_dataloader"]
    loader.pop("shuffle", None)
    loader["dataset"] = {"_target_": "tests.test_optimizers.Stream", "rows": loader["dataset"]}
    with pytest.raises(ConfigError, match=r"total_steps: the number of optimizer steps is not known") as caught:
        Runner().run("fit", [config])
    assert "limit_train_batches" in str(caught.value)
    outcome = Runner().execute("fit", [config, {"trainer": {"limit_train_batches": 2, "max_epochs": 1}}])
    assert outcome.trainer.global_step == 2


class Stream(IterableDataset):
    """Samples of a dataset, with no length."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __iter__(self) -> Any:
        return (self.rows[index] for index in range(len(self.rows)))


def test_definitions_in_another_process_refer_to_its_trainer(config: dict[str, Any]) -> None:
    definition = Objects(read([config, {"vars": {"n": "$@trainer.n + @trainer::max_epochs"}}]).expanded)
    deferred = pickle.loads(pickle.dumps(defer(definition, "vars")))
    deferred.provide("trainer", SimpleNamespace(n=40))
    assert deferred["n"].build() == 40 + config["trainer"]["max_epochs"]


def test_numbers_that_the_data_tells(config: dict[str, Any]) -> None:
    loader = "@data::train_dataloader"
    scheduler = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": f"$len({loader})"}
    sizes = {"in_features": 64, "out_features": f"$len({loader}::dataset) // 32"}
    module = run(config, network={"_target_": "torch.nn.Linear", **sizes}, optimizer=ADAM, scheduler=scheduler)
    assert module.network.out_features == len(module.trainer.train_dataloader.dataset) // 32 == 10
    assert module.configured["lr_scheduler"].step_size == len(module.trainer.train_dataloader)


LINEAR = {"_target_": "torch.nn.Linear", "in_features": 64}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"network": {**LINEAR, "out_features": f"${STEPS}"}}}, "out_features: the number .* not known yet"),
        (
            {"vars": {"n": f"${STEPS}"}, "model": {"network": {**LINEAR, "out_features": "@vars::n"}}},
            r"vars::n: the number of optimizer steps is not known yet[^$]*`model::optimizer` and `model::scheduler`",
        ),
        ({"data": {"train_dataloader": {"batch_size": f"${STEPS}"}}}, "batch_size: the number of optimizer steps is"),
        ({"trainer": {"log_every_n_steps": f"${STEPS}"}}, "these references go round in a circle"),
        ({"trainer": {"max_epochs": -1}, "model": {"scheduler": ONE_CYCLE}}, "is infinite: the fit has no end"),
        (
            {"model": {"scheduler": {**ONE_CYCLE, "total_steps": "$2 * @trainer.num_training_batches"}}},
            "does not know `num_training_batches` before it runs[^$]*`@trainer.estimated_stepping_batches //",
        ),
    ],
)
def test_numbers_of_steps_in_a_wrong_place(config: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    config["model"]["optimizer"] = ADAM
    with pytest.raises(ConfigError, match=message):
        Runner().run("fit", [config, changes])


def test_a_wrong_choice_is_found_by_the_check(config: dict[str, Any]) -> None:
    config["model"]["optimizer"] = {**ADAM, "params": [{"params": ["0", {"types": "norm"}]}, {"params": None}]}
    with pytest.raises(ConfigError, match=r"params::0::params::1::types: `params` as a dict has `name` and `type`"):
        Runner().run("fit", [config])


def test_a_wrong_name_shows_its_place_in_the_config(config: dict[str, Any], own_place: Any) -> None:
    file = own_place / "groups.yaml"
    file.write_text("model:\n  optimizer:\n    params:\n      - {params: network, lr: 1}\n      - {params: netwrok}\n")
    config["model"]["optimizer"] = dict(ADAM)
    with pytest.raises(ConfigError) as caught:
        Runner().run("fit", [config, file])
    where = "groups.yaml:5:18: model::optimizer::params::1::params"
    assert f"{where}: no parameter's name starts with `netwrok`" in str(caught.value)


def test_several_optimizers_each_with_its_scheduler(config: dict[str, Any]) -> None:
    """A GAN, optimized by hand."""
    del config["data"]["val_dataloader"]
    config["model"] = {
        "_target_": "tests.test_optimizers.Gan",
        "network": {"_target_": "tests.test_optimizers.generator_and_critic"},
        "optimizer": [{**ADAM, "params": [{"params": "generator"}]}, {**ADAM, "lr": 0.02, "params": ["critic"]}],
        "scheduler": [{"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1}, None],
    }
    Runner().run("fit", [config, "trainer::max_epochs=2"])
    gan = Gan.latest
    generator, critic = gan.optimizers()
    assert generator.param_groups[0]["lr"] == pytest.approx(0.0001)
    assert critic.param_groups[0]["lr"] == 0.02
    values = gan.trainer.callback_metrics
    assert {"train/loss/total/epoch", "train/loss/generator/epoch", "train/loss/critic/epoch"} <= set(values)
    assert {"train/optimizer/Adam/lr/epoch", "train/optimizer/Adam-1/lr/epoch"} <= set(values)
    assert "train/lr" not in values
    assert float(values["train/loss/critic/step"]) > 0


def test_several_optimizers_each_with_a_warm_up(config: dict[str, Any]) -> None:
    """The generator's scheduler is stepped by hand, at the end of an epoch; the warm-ups step by themselves."""
    del config["data"]["val_dataloader"]
    step_lr = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1}
    config["model"] = {
        "_target_": "tests.test_optimizers.Gan",
        "network": {"_target_": "tests.test_optimizers.generator_and_critic"},
        "optimizer": [{**ADAM, "params": "generator"}, {**ADAM, "lr": 0.02, "params": "critic"}],
        "scheduler": [
            {"scheduler": step_lr, "warmup": {"steps": 40, "start_factor": 0}},
            {"warmup": {"steps": 16, "kind": "exponential", "start_factor": 0.01}},
        ],
    }
    for epochs, checkpoint in ((1, None), (2, "last")):
        Runner().run("fit", [config, f"trainer::max_epochs={epochs}"], ckpt_path=checkpoint)
        generator, critic = Gan.latest.optimizers()
        done = 10 * epochs
        assert generator.param_groups[0]["lr"] == pytest.approx(0.01 * 0.1**epochs * done / 40)
        assert critic.param_groups[0]["lr"] == pytest.approx(0.02 * 0.01 ** max(0, 1 - done / 16))


def generator_and_critic() -> nn.ModuleDict:
    return nn.ModuleDict({"generator": nn.Linear(8, 64), "critic": nn.Linear(64, 1)})


class Gan(lighter.LighterModule):
    latest: Any = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.automatic_optimization = False
        Gan.latest = self

    def training_step(self, batch, batch_idx):
        real, _ = batch
        generator, critic = self.optimizers()
        bce = nn.functional.binary_cross_entropy_with_logits
        fake = self.network["generator"](torch.randn(len(real), 8))
        ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
        g_loss = bce(self.network["critic"](fake), ones)
        generator.zero_grad()
        self.manual_backward(g_loss)
        generator.step()
        c_loss = bce(self.network["critic"](real), ones) + bce(self.network["critic"](fake.detach()), zeros)
        critic.zero_grad()
        self.manual_backward(c_loss)
        critic.step()
        if self.trainer.is_last_batch:
            self.lr_schedulers().step()
        return {"loss": {"total": g_loss + c_loss, "generator": g_loss, "critic": c_loss}}


def test_instances_and_callables_made_in_python() -> None:
    network = mlp()
    made = torch.optim.SGD(network.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(made, 1)
    module = Classifier(network, nn.CrossEntropyLoss(), made, schedule)
    assert module.configure_optimizers() == {"optimizer": made, "lr_scheduler": schedule}
    module = Classifier(
        mlp(),
        nn.CrossEntropyLoss(),
        optimizer=lambda params: torch.optim.SGD(params, lr=0.1),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1),
    )
    configured = module.configure_optimizers()
    assert configured["lr_scheduler"].optimizer is configured["optimizer"]


def test_partials_from_the_config(config: dict[str, Any]) -> None:
    scheduler = {"_target_": "torch.optim.lr_scheduler.StepLR", "_mode_": "callable", "step_size": 1}
    module = run(config, optimizer={**ADAM, "_mode_": "callable"}, scheduler=scheduler)
    assert len(module.configured["optimizer"].param_groups[0]["params"]) == 4
    assert module.configured["lr_scheduler"].optimizer is module.configured["optimizer"]


def test_a_plateau_scheduler_without_a_monitor_shows_the_yaml(config: dict[str, Any]) -> None:
    message = r"model::scheduler: ReduceLROnPlateau needs the name of the value to watch[^$]*monitor: val/loss/epoch"
    with pytest.raises(ConfigError, match=message):
        run(config, optimizer=ADAM, scheduler={"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"})


def test_each_fit_builds_its_own_optimizer(config: dict[str, Any]) -> None:
    module = run(config, optimizer=ADAM, scheduler={"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1})
    first = module.configured["optimizer"]
    again = module.configure_optimizers()
    assert again["optimizer"] is not first
    assert again["lr_scheduler"].optimizer is again["optimizer"]
    assert again["optimizer"].param_groups[0]["lr"] == 0.01


def test_wrong_optimizers_say_what_one_is(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"model::optimizer: an optimizer is a torch.optim.Optimizer; found a Linear"):
        run(config, optimizer={"_target_": "tests.test_optimizers.not_an_optimizer"})
    with pytest.raises(ConfigError, match=r"model::optimizer: an optimizer is .*; found a dict"):
        run(config, optimizer={"lr": 0.1})
    with pytest.raises(ModuleTypeError, match="found a dict"):
        Classifier(mlp(), None, {"lr": 0.1}).configure_optimizers()
    with pytest.raises(ModuleValueError, match="2 schedulers for 1 optimizers"):
        Classifier(mlp(), None, lambda p: torch.optim.SGD(p, 0.1), [None, None]).configure_optimizers()
    with pytest.raises(ModuleValueError, match=r"has the key `scheduler`; found \['interval'\]"):
        Classifier(mlp(), None, lambda p: torch.optim.SGD(p, 0.1), {"interval": "step"}).configure_optimizers()
    with pytest.raises(ModuleValueError, match="has no optimizer"):
        Classifier(mlp()).configure_optimizers()


def not_an_optimizer(params: Any) -> nn.Module:
    return nn.Linear(1, 1)


def test_a_fit_without_an_optimizer_is_the_configs_mistake(config: dict[str, Any]) -> None:
    del config["model"]["optimizer"]
    with pytest.raises(ConfigError, match=r"`fit` needs `model::optimizer`, and there is none[^$]*torch.optim.Adam"):
        Runner().run("fit", [config])


def test_nothing_but_schedulers_may_refer_to_an_optimizer_early(config: dict[str, Any]) -> None:
    config["model"]["criterion"] = "@model::optimizer"
    with pytest.raises(ConfigError, match="`@model::optimizer` is built when the trainer asks for it"):
        Runner().run("fit", [config])


def test_checkpoints_restore_the_optimizer(config: dict[str, Any], own_place: Any) -> None:
    module = run(config, optimizer=ADAM)
    module.trainer.save_checkpoint(own_place / "one.ckpt")
    Runner().run("fit", [config, "trainer::max_epochs=2"], ckpt_path=str(own_place / "one.ckpt"))
    assert Keeping.latest.configured["optimizer"].state_dict()["state"][0]["step"] == 3 + 10
