"""`Freezer` in real runs: against loops written by hand, across resumes, beside other callbacks, from a config."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BackboneFinetuning, Callback
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import nn

from lighter import Runner
from lighter.callbacks import Freezer
from lighter.errors import ConfigError, MisfitError, ModuleTypeError, ModuleValueError
from tests.jobs import QUIET, loader
from tests.slow import one_in
from tests.test_system import system  # noqa: F401  a fixture

STEPS = 4  # of an epoch: 128 digits in batches of 32


class Plain(pl.LightningModule):
    """A plain LightningModule that remembers what was to train in each step, by initials."""

    def __init__(self, optimizer: str = "sgd") -> None:
        super().__init__()
        torch.manual_seed(1)
        self.backbone = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.neck = nn.Sequential(nn.Linear(16, 16), nn.ReLU())
        self.head = nn.Linear(16, 10)
        self.optimizer = optimizer
        self.trains: list[str] = []

    def forward(self, x):
        return self.head(self.neck(self.backbone(x)))

    def training_step(self, batch, batch_idx):
        self.trains.append("".join(name[0] for name, part in self.named_children() if part_trains(part)))
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self(batch[0])

    def configure_optimizers(self):
        return make_optimizer(self.optimizer, [p for p in self.parameters() if p.requires_grad])


class TrainsAll(Plain):
    """A module that puts everything into training mode after a validation, as many do."""

    def on_validation_model_train(self):
        self.train()


class Save(Callback):
    """Saves after every step and every epoch, which it names from 1 on."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        trainer.save_checkpoint(f"step{trainer.global_step}.ckpt")

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.save_checkpoint(f"epoch{trainer.current_epoch + 1}.ckpt")


def part_trains(part: nn.Module) -> bool:
    return next(part.parameters()).requires_grad


def make_optimizer(kind: str, parameters: Any) -> torch.optim.Optimizer:
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.1)


def fit(module: pl.LightningModule, *callbacks: Callback, ckpt_path: str | None = None, **options: Any) -> pl.Trainer:
    trainer = pl.Trainer(callbacks=list(callbacks), **{"max_epochs": 3, **QUIET, **options})
    trainer.fit(module, loader(0, 128), loader(320, 352), ckpt_path=ckpt_path)
    return trainer


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def by_hand(kind: str, thaw_at: float, epochs: int = 3) -> Plain:
    """The same training: the optimizer gets the backbone only when that trains."""
    module = Plain()
    trained = [*module.neck.parameters(), *module.head.parameters()]
    optimizer = make_optimizer(kind, trained)
    batches = [batch for _ in range(epochs) for batch in loader(0, 128)]
    for step, (x, y) in enumerate(batches):
        if step == thaw_at:
            added = list(module.backbone.parameters())
            optimizer.add_param_group({"params": added})
            trained += added
        module.train()
        module.backbone.train(step >= thaw_at)
        gradients = torch.autograd.grad(nn.functional.cross_entropy(module(x), y), trained)
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    return module


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    ("until", "thaw_at"),
    [
        ({"until_step": 0}, 0),
        ({"until_step": 6}, 6),
        ({"until_epoch": 1}, STEPS),
        ({"until_epoch": 2, "until_step": 6}, 6),
        ({"until_epoch": 1, "until_step": 6}, STEPS),
        ({}, float("inf")),
    ],
)
def test_training_is_that_of_a_loop_written_by_hand(optimizer: str, until: dict[str, int], thaw_at: float) -> None:
    module = Plain(optimizer)
    fit(module, Freezer("backbone", **until))
    assert same(module, by_hand(optimizer, thaw_at))
    assert module.trains == ["nh" if step < thaw_at else "bnh" for step in range(3 * STEPS)]


def test_momentum_from_before_moves_nothing() -> None:
    fit(Plain(), Save(), max_epochs=1)
    weights = torch.load("epoch1.ckpt", weights_only=True)["state_dict"]
    module = Plain()
    fit(module, Freezer("backbone"), ckpt_path="epoch1.ckpt", max_epochs=2)
    assert torch.equal(module.backbone[0].weight, weights["backbone.0.weight"])
    assert not torch.equal(module.neck[0].weight, weights["neck.0.weight"])


def test_steps_are_those_of_the_optimizer() -> None:
    module = Plain()
    fit(module, Freezer("backbone", until_step=3), accumulate_grad_batches=2, max_epochs=2)
    assert module.trains == ["nh"] * 6 + ["bnh"] * 2


def test_a_schedule_thaws_part_by_part() -> None:
    module = Plain()
    fit(module, Freezer(schedule={0: "head", 2: ["neck"]}), max_epochs=4)
    assert module.trains == ["h"] * 2 * STEPS + ["nh"] * 2 * STEPS
    assert torch.equal(module.backbone[0].weight, Plain().backbone[0].weight)


@pytest.mark.parametrize("kind", [Plain, TrainsAll])
def test_running_statistics_stand_still(kind: type[Plain]) -> None:
    module, fresh = kind(), Plain()
    fit(module, Freezer("backbone"), val_check_interval=2)
    assert torch.equal(module.backbone[1].running_mean, fresh.backbone[1].running_mean)
    assert int(module.backbone[1].num_batches_tracked) == 0
    fit(module, Freezer("backbone", until_step=10), val_check_interval=2)
    assert int(module.backbone[1].num_batches_tracked) == 2


def test_dropout_stays_as_it_is() -> None:
    module = Plain()
    module.neck.append(nn.Dropout())
    seen = []
    module.neck[2].register_forward_hook(lambda layer, *_: seen.append(layer.training))
    fit(module, Freezer("neck"), max_epochs=1, limit_val_batches=0)
    assert seen == [True] * STEPS


@pytest.mark.parametrize(
    "until", one_in(3, [{"until_step": step} for step in (7, 8, 9)] + [{"until_epoch": e} for e in (1, 2, 3)])
)
def test_a_resumed_run_ends_as_an_uninterrupted_one(until: dict[str, int]) -> None:
    whole = Plain("adamw")
    fit(whole, Freezer("backbone", **until), Save(), max_epochs=4)
    resumed = Plain("adamw")
    fit(resumed, Freezer("backbone", **until), ckpt_path="epoch2.ckpt", max_epochs=4)
    assert same(resumed, whole)
    assert resumed.trains == whole.trains[2 * STEPS :]


def test_resuming_in_the_middle_of_an_epoch_goes_by_the_step() -> None:
    fit(Plain(), Freezer("backbone", until_step=3), Save(), max_epochs=1)
    resumed = Plain()
    with pytest.warns(UserWarning, match="your dataloader is not resumable"):
        fit(resumed, Freezer("backbone", until_step=3), ckpt_path="step2.ckpt", max_epochs=1)
    assert resumed.trains == ["nh", "bnh"]


def test_several_freezers_of_one_parameter_free_it_when_the_last_does() -> None:
    module = Plain()
    freezers = [Freezer("backbone", until_step=2), Freezer(name_starts_with="b", until_step=6), Freezer("neck")]
    fit(module, *freezers)
    assert module.trains == ["h"] * 6 + ["bh"] * 6
    assert int(module.backbone[1].num_batches_tracked) == 6
    assert all(parameter.requires_grad for parameter in module.backbone.parameters())
    assert not any(parameter.requires_grad for parameter in module.neck.parameters())
    assert all(part.training for part in module.modules())


def test_what_the_user_froze_stays_frozen() -> None:
    module = Plain()
    module.backbone[0].weight.requires_grad_(False)
    fit(module, Freezer("backbone", until_epoch=1), max_epochs=2)
    assert [name for name, parameter in module.named_parameters() if not parameter.requires_grad] == [
        "backbone.0.weight"
    ]
    fresh = Plain()
    assert torch.equal(module.backbone[0].weight, fresh.backbone[0].weight)
    assert not torch.equal(module.backbone[0].bias, fresh.backbone[0].bias)


def test_what_a_run_leaves_frozen_a_later_freezer_thaws() -> None:
    module, freezer = Plain(), Freezer(["backbone", "neck.0.bias"], until_epoch=1)
    for _ in range(2):
        fit(module, freezer, max_epochs=2)
    assert module.trains == (["nh"] * STEPS + ["bnh"] * STEPS) * 2
    fit(module, Freezer("backbone"), max_epochs=1)
    assert not any(parameter.requires_grad for parameter in module.backbone.parameters())
    assert module.backbone[1].training
    module.trains.clear()
    fit(module, Freezer("backbone", until_epoch=1), max_epochs=2)
    assert module.trains == ["nh"] * STEPS + ["bnh"] * STEPS


def test_a_run_that_fails_ends_as_any_other() -> None:
    class Fails(Plain):
        def training_step(self, batch, batch_idx):
            raise ZeroDivisionError

    module = Fails()
    with pytest.raises(ZeroDivisionError):
        fit(module, Freezer("backbone"))
    assert not any(parameter.requires_grad for parameter in module.backbone.parameters())
    assert module.backbone[1].training


def test_other_stages_know_nothing_of_it() -> None:
    module = Plain()
    freezer = Freezer("no such thing")
    trainer = pl.Trainer(callbacks=[freezer], **QUIET)
    trainer.validate(module, loader(320, 352), verbose=False)
    assert all(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.filterwarnings("ignore:The provided params to be frozen already exist")  # it compares them by value
@pytest.mark.parametrize("frozen", ["neck", "backbone"])
@pytest.mark.parametrize("order", [1, -1])
def test_beside_lightnings_finetuning(frozen: str, order: int) -> None:
    module = Plain()
    callbacks = [BackboneFinetuning(unfreeze_backbone_at_epoch=1, verbose=False), Freezer(frozen, until_epoch=2)]
    fit(module, *callbacks[::order])
    assert [module.trains[epoch * STEPS] for epoch in range(3)] == {
        "neck": ["h", "bh", "bnh"],
        "backbone": ["nh", "nh", "bnh"],
    }[frozen]


def test_lightnings_summary_counts_what_is_frozen(capsys: pytest.CaptureFixture) -> None:
    fit(Plain(), Freezer(schedule={0: "head"}), enable_model_summary=True, max_epochs=1)
    assert "Trainable params: 170" in " ".join(capsys.readouterr().out.split())


def test_tables_can_ask_until_when() -> None:
    class Asks(Callback):
        def on_train_start(self, trainer, pl_module):
            self.answers = [freezer.until(p) for p in (pl_module.head.bias, pl_module.neck[0].bias)]

    freezer, asks = Freezer("neck", until_step=5), Asks()
    fit(Plain(), freezer, asks, max_epochs=1)
    assert asks.answers == [None, "until step 5"]


def test_what_it_does_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lighter")
    fit(Plain(), Freezer(["head", "backbone"], schedule={0: "head", 1: "backbone.1"}), max_epochs=2)
    assert [message for message in caplog.messages if "Freezer" in message] == [
        "Freezer: trains from the start: head (170 parameters in 2 tensors)",
        "Freezer: frozen until epoch 1: backbone.1 (32 parameters in 2 tensors, 1 normalisation layer)",
        "Freezer: frozen for the whole run: the rest (1,040 parameters in 2 tensors)",
        "Freezer: epoch 1, step 4: thawed: backbone.1 (32 parameters in 2 tensors, 1 normalisation layer)",
    ]


def test_nothing_left_to_train_is_an_error() -> None:
    with pytest.raises(MisfitError, match="all parameters are frozen at the start"):
        fit(Plain(), Freezer(name_starts_with="", until_step=5))
    module = Plain()
    fit(module, Freezer(["backbone", "neck"]), Freezer("head", until_step=0), max_epochs=1)
    assert module.trains == ["h"] * STEPS


def test_a_strategy_that_keeps_parameters_elsewhere_is_an_error() -> None:
    class Wraps(SingleDeviceStrategy):
        def setup(self, trainer):
            super().setup(trainer)
            self.model = nn.Sequential(self.model)

    with pytest.raises(MisfitError, match="works on one device and with `strategy: ddp`; Wraps keeps"):
        fit(Plain(), Freezer("backbone"), strategy=Wraps(device="cpu"), accelerator="auto")


def test_manual_optimization_with_toggled_optimizers() -> None:
    class TwoOptimizers(Plain):
        def training_step(self, batch, batch_idx):
            for optimizer in self.optimizers():
                with self.toggled_optimizer(optimizer):
                    optimizer.zero_grad()
                    self.manual_backward(nn.functional.cross_entropy(self(batch[0]), batch[1]))
                    optimizer.step()
            self.trains.append("b" if self.backbone[0].weight.grad is not None else "")

        def configure_optimizers(self):
            return [make_optimizer("sgd", self.head.parameters()), make_optimizer("adamw", self.backbone.parameters())]

    module = TwoOptimizers()
    module.automatic_optimization = False
    fit(module, Freezer("backbone.0", until_step=4), max_epochs=1)  # `global_step` counts both
    assert module.trains == ["", "", "b", "b"]
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_both_kinds_of_exceptions() -> None:
    module = Plain()
    fit(module, Freezer(name_starts_with="", except_names="head", except_name_starts_with="ne"), max_epochs=1)
    assert set(module.trains) == {"nh"}


@pytest.mark.parametrize("until", [{"until_epoch": 1}, {"until_step": 2}])
def test_what_thaws_and_is_in_no_optimizer_is_warned_of(until: dict[str, int], caplog: Any) -> None:
    module = Plain()
    fit(module, Freezer("backbone"), max_epochs=1)  # what stays frozen is not given to the optimizer of the next fit
    assert "no optimizer has them" not in caplog.text
    fit(module, Freezer("backbone", **until), max_epochs=2)
    assert caplog.text.count("no optimizer has them, so they do not train: backbone.") == 1


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({}, ModuleValueError, "needs `names` or `name_starts_with`"),
        ({"except_names": "a"}, ModuleValueError, "needs `names` or `name_starts_with`"),
        ({"names": "a", "schedule": {1: "a"}, "until_epoch": 1}, ModuleValueError, "takes `schedule`, or"),
        ({"names": []}, ModuleValueError, "`names` has no name in it"),
        ({"names": {"a": 1}}, ModuleTypeError, "`names` is a name or a list of names; found a dict"),
        ({"names": [None]}, ModuleTypeError, "`names` is a name or a list of names; found a list of 1"),
        ({"names": "a", "until_step": "3"}, ModuleTypeError, "`until_step` is a whole number; found a str"),
        ({"names": "a", "until_epoch": True}, ModuleTypeError, "`until_epoch` is a whole number; found a bool"),
        ({"names": "a", "until_step": -1}, ModuleValueError, "`until_step` counts from 0; found -1"),
        ({"schedule": {}}, ModuleTypeError, "`schedule` is names by epochs; found an empty dict"),
        ({"schedule": {"soon": "a"}}, ModuleTypeError, "an epoch of `schedule` is a whole number; found a str"),
        ({"schedule": {1: "a", 2: ["b", "a"]}}, ModuleValueError, "`schedule` has `a` twice, at epochs 1 and 2"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Freezer(**arguments)


class Watch(Callback):
    """Keeps the names of what trained at the first step and of what was in the optimizer."""

    trained: list[str]
    optimized: int

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 1:
            Watch.trained = [name for name, p in pl_module.named_parameters() if p.grad is not None]
            Watch.optimized = sum(len(group["params"]) for group in trainer.optimizers[0].param_groups)


class Digits(pl.LightningModule):
    """Rung 3, in the form of the others: its layers are in `model`."""

    def __init__(self, network):
        super().__init__()
        self.model = network

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.model(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(params=["LighterModule", "System", "LightningModule"])
def rung(request: pytest.FixtureRequest, config: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """A config of each rung with a Freezer still to be written, and what its parameters' names begin with."""
    prefix = "network."
    if request.param == "System":
        config, prefix = request.getfixturevalue("system"), "model."
    elif request.param == "LightningModule":
        config["model"] = {"_target_": "tests.callbacks.test_freezer.Digits", "network": {"_target_": "tests.jobs.mlp"}}
        prefix = "model."
    freezer = {"_target_": "lighter.callbacks.Freezer"}
    config["trainer"] |= {"callbacks": [freezer, {"_target_": "tests.callbacks.test_freezer.Watch"}], "max_epochs": 1}
    return config, prefix


def test_from_a_config_on_every_rung(rung: tuple[dict[str, Any], str]) -> None:
    config, prefix = rung
    inside = "model." if "Digits" in str(config) else ""  # on rung 3 names are those of the module itself
    Runner().run("fit", [config, f"trainer::callbacks::0::names={inside}0"])
    assert Watch.trained == [f"{prefix}2.weight", f"{prefix}2.bias"]
    assert Watch.optimized == 4
    Runner().run("fit", [config, f"trainer::callbacks::0::schedule={{0: {inside}0, 9: {inside}2.bias}}"])
    assert Watch.trained == [f"{prefix}0.weight", f"{prefix}0.bias"]
    logged = "".join(path.read_text() for path in Path("outputs").glob("*/*/run.log"))
    assert f"Freezer: frozen until epoch 9: {inside}2.bias (10 parameters in 1 tensor)" in logged
    message = rf"^command line: trainer::callbacks::0::names: .* `{inside}0.wait`. Did you mean `{inside}0.weight`\?"
    with pytest.raises(ConfigError, match=message):
        Runner().run("fit", [config, f"trainer::callbacks::0::names={inside}0.wait"])


def test_a_wrong_freezer_has_a_place_in_the_config(config: dict[str, Any]) -> None:
    config["trainer"]["callbacks"] = [{"_target_": "lighter.callbacks.Freezer", "until_step": 3}]
    with pytest.raises(ConfigError, match="trainer::callbacks::0: a Freezer needs `names` or `name_starts_with`"):
        Runner().run("fit", [config])


def test_beside_finetune_cfg(config: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lighter")
    config["model"]["finetune_cfg"] = "2"
    freezer = {"_target_": "lighter.callbacks.Freezer", "names": ["0", "2.bias"], "until_epoch": 1}
    config["trainer"]["callbacks"] = [freezer, {"_target_": "tests.callbacks.test_freezer.Watch"}]
    Runner().run("fit", [config])
    assert Watch.trained == ["network.2.weight"]
    assert "thawed: 0, 2.bias (2,090 parameters in 3 tensors, 2 tensors frozen by others)" in caplog.text
