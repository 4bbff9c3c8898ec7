"""What users override: how a step is logged, and `configure_optimizers` on top of the config's optimizer."""

from __future__ import annotations

import copy
import csv
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LinearLR, StepLR

import lighter
from lighter import LighterDataModule, Mode, Runner
from lighter.errors import ConfigError, ModuleTypeError, NotBuiltError
from lighter.system import Mode as ModeOfSystem
from tests.jobs import Classifier, loader, mlp


class LogsMore(lighter.System):
    def _log_stats(self, loss: Any, metrics: Any, batch_idx: int | None) -> None:
        super()._log_stats(loss, metrics, batch_idx)
        if self.mode == Mode.TRAIN:
            self.log("custom/my_metric", loss.detach() * 0 + batch_idx)
            self.log("custom/accuracy", metrics["accuracy"], on_step=True, on_epoch=True)

    def on_train_epoch_end(self) -> None:
        assert self.mode == Mode.TRAIN
        self.log("custom/epoch", float(self.current_epoch))


class LogsNothing(lighter.System):
    def _log_stats(self, loss: Any, metrics: Any, batch_idx: int | None) -> None:
        assert (loss is None) == (self.mode == Mode.TEST)


class LogsOutputs(Classifier):
    def _log_outputs(self, outputs: dict[str, Any], batch_idx: int | None) -> None:
        super()._log_outputs(outputs, batch_idx)
        super()._log_outputs(outputs, batch_idx)  # once, however often
        self.log(f"{self.mode}/mine", outputs["loss"].detach(), on_epoch=True)


def system_config(config: dict[str, Any], target: str) -> dict[str, Any]:
    """The digits as a System."""
    model, data = config["model"], config["data"]
    accuracy = {"accuracy": config["vars"]["metrics"]["accuracy"]}
    return {
        "seed": 3,
        "system": {
            "_target_": target,
            "model": model["network"],
            "criterion": model["criterion"],
            "optimizer": model["optimizer"],
            "metrics": dict.fromkeys(("train", "val", "test"), accuracy),
            "dataloaders": {mode: data[f"{mode}_dataloader"] for mode in ("train", "val", "test")},
        },
        "trainer": config["trainer"],
    }


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def columns(folder: Path) -> set[str]:
    return {name for row in rows(folder) for name, value in row.items() if value}


def fit(config: dict[str, Any]) -> Any:
    return Runner().execute("fit", [config])


def test_a_system_logs_more_where_it_overrides_log_stats(config: dict[str, Any]) -> None:
    plain = fit(system_config(config, "lighter.System"))
    more = fit(system_config(config, "tests.test_overrides.LogsMore"))
    added = {"custom/my_metric", "custom/accuracy_step", "custom/accuracy_epoch", "custom/epoch"}
    assert columns(more.folder.path) - columns(plain.folder.path) == added
    shared = columns(plain.folder.path)
    before, after = rows(plain.folder.path), rows(more.folder.path)
    for name in (name for name in shared if "/" in name):
        assert [row[name] for row in before if row[name]] == [row[name] for row in after if row.get(name)]


def test_automatic_logging_is_off_without_super(config: dict[str, Any]) -> None:
    run = fit(system_config(config, "tests.test_overrides.LogsNothing"))
    assert not [name for name in run.trainer.callback_metrics if "/" in name]
    Runner().run("test", [system_config(config, "tests.test_overrides.LogsNothing")], verbose=False)


def test_a_module_overrides_log_outputs(config: dict[str, Any]) -> None:
    plain = fit(config).trainer.callback_metrics
    config["model"]["_target_"] = "tests.test_overrides.LogsOutputs"
    more = fit(config).trainer.callback_metrics
    added = {"train/mine", "train/mine_step", "train/mine_epoch", "val/mine"}
    assert added - {"val/mine"} <= more.keys() - plain.keys()
    assert all(torch.equal(plain[name], more[name]) for name in plain)


def test_modes_are_their_strings() -> None:
    assert Mode.VAL == "val"
    assert f"{Mode.VAL}/loss" == str(Mode.VAL) + "/loss" == "val/loss"
    assert {mode.value for mode in Mode} == {"train", "val", "test", "predict"}
    assert ModeOfSystem is Mode


def subclass(base: type, name: str, **members: Any) -> type:
    return type("Mine", (base,), {"__module__": __name__, name: lambda self, *args: None, **members})


@pytest.mark.parametrize(
    ("base", "name", "instead"),
    [
        (lighter.System, "_calculate_loss", r"compute_loss\(self, input, target, pred, mode\)"),
        (lighter.System, "_prepare_batch", r"prepare_batch\(self, batch, mode\)"),
        (lighter.System, "_step", r"`step\(self, batch, mode\)`"),
        (lighter.System, "_log_metrics", r"_log_stats\(self, loss, metrics, batch_idx\)"),
        (lighter.LighterModule, "_log_loss", r"_log_outputs\(self, outputs, batch_idx\)"),
        (lighter.LighterModule, "_prepare_batch", "`training_step`"),
    ],
)
def test_overrides_that_nobody_calls_name_what_to_override(base: type, name: str, instead: str) -> None:
    with pytest.raises(ModuleTypeError, match=rf"Mine overrides `{name}`, which Lighter does not call: .*{instead}"):
        subclass(base, name)(mlp())

    def uses(self: Any, batch: Any, batch_idx: int) -> Any:
        return getattr(self, "x", None) or self._helper(batch)

    uses.__code__ = uses.__code__.replace(co_names=tuple(name if n == "_helper" else n for n in uses.__code__.co_names))
    subclass(base, name, training_step=uses)(mlp())  # a helper of the user's own


def test_such_an_override_in_a_config_has_its_place(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"model: .*Unheard overrides `_log_loss`"):
        fit({**config, "model": {**config["model"], "_target_": "tests.test_overrides.Unheard"}})


class Unheard(Classifier):
    def _log_loss(self, outputs: Any) -> None: ...


class Warms(Classifier):
    """Builds on the config's optimizer."""

    def configure_optimizers(self) -> Any:
        assert isinstance(self.optimizer, torch.optim.Adam)
        assert self.optimizer is self.optimizer
        scheduler = {"scheduler": LinearLR(self.optimizer, total_iters=4), "interval": "step"}
        return {"optimizer": self.optimizer, "lr_scheduler": scheduler}


class Extends(Classifier):
    """Asks first, then has Lighter's own configuration."""

    def configure_optimizers(self) -> Any:
        scheduler, optimizer = self.scheduler, self.optimizer
        configured = super().configure_optimizers()
        assert configured["optimizer"] is optimizer is scheduler.optimizer
        return configured

    def on_train_start(self) -> None:
        assert self.optimizer is self.optimizers().optimizer
        assert self.scheduler is self.lr_schedulers()
        self.seen = type(self.scheduler)


def test_configure_optimizers_builds_on_the_configs_optimizer(config: dict[str, Any]) -> None:
    config["model"]["_target_"] = "tests.test_overrides.Warms"
    run = fit(config)
    [entry] = run.trainer.lr_scheduler_configs
    assert isinstance(entry.scheduler, LinearLR)
    assert run.trainer.lightning_module.optimizer is run.trainer.optimizers[0]
    assert run.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01)


def test_the_real_scheduler_is_there_too_and_each_fit_has_its_own(config: dict[str, Any]) -> None:
    make = functools.partial(torch.optim.SGD, lr=0.1)
    decay = functools.partial(StepLR, step_size=1)
    module = Extends(mlp(), criterion=nn.CrossEntropyLoss(), optimizer=make, scheduler=decay)
    data = LighterDataModule(train_dataloader=loader(0, 64), val_dataloader=loader(64, 96))
    optimizers = []
    for _ in range(2):
        trainer = lighter.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, accelerator="cpu")
        trainer.fit(module, data)
        optimizers.append(module.optimizer)
        assert module.seen is StepLR
    assert optimizers[0] is not optimizers[1]
    assert copy.deepcopy(module).network is not module.network


@pytest.mark.parametrize("name", ["optimizer", "scheduler"])
def test_before_that_it_is_an_error_that_says_when(name: str) -> None:
    optimizer, scheduler = functools.partial(torch.optim.SGD, lr=0.1), functools.partial(StepLR, step_size=1)
    module = Classifier(mlp(), optimizer=optimizer, scheduler=scheduler)
    with pytest.raises(NotBuiltError, match=rf"`self.{name}` is built when the trainer calls `configure_optimizers`"):
        getattr(module, name)
    assert not hasattr(module, name)
    module.configure_optimizers()
    assert isinstance(getattr(module, name), (torch.optim.SGD, StepLR))
    with pytest.raises(NotBuiltError):
        getattr(copy.deepcopy(module), name)


def test_what_is_given_ready_made_is_there_at_once() -> None:
    network = mlp()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    module = Classifier(network, optimizer=optimizer)
    assert module.optimizer is optimizer
    assert module.scheduler is None
    module.optimizer = None
    assert module.missing("fit")
