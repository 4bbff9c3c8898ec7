"""The parts that `BaseModule` holds, from YAML, on each rung that has them: a test for each pair."""

from __future__ import annotations

import copy
import csv
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lighter import Runner
from lighter.errors import ConfigError, MisfitError, ModuleTypeError, ModuleValueError
from lighter.parts.metrics.loss_weights import LossWeights
from lighter.parts.weights.finetune import Finetune
from tests.jobs import QUIET, Classifier, ForwardClassifier, loader, mlp
from tests.slow import mostly_slow
from tests.test_system import system  # noqa: F401  a fixture


class Keep(pl.Callback):
    """Keeps the module that ran."""

    module: Any = None

    def on_fit_start(self, trainer, pl_module):
        Keep.module = pl_module


class Rates(pl.Callback):
    """Keeps the learning rates that each step of an optimizer uses."""

    used: list[float] = []

    def on_fit_start(self, trainer, pl_module):
        Rates.used = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        Rates.used.append(optimizer.param_groups[0]["lr"])


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


@pytest.fixture(params=mostly_slow(RUNGS))
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
    wrong = rf"{section}::loss_weights::sise_loss: `loss_weights` names `sise_loss`, .*Did you mean `size_loss`\?"
    with pytest.raises(ConfigError, match=wrong):
        Runner().run("fit", [config])


def test_wrong_parts_have_a_place_in_the_config(rung: tuple[dict[str, Any], str]) -> None:
    config, section = rung
    with pytest.raises(
        ConfigError, match=rf"{section}::loss_weights: .*`loss_weights` is Mapping\[str, float\] or null; found \[1\]"
    ):
        Runner().run("fit", [config, f"{section}::loss_weights=[1]"])
    with pytest.raises(ConfigError, match=rf"{section}::finetune_cfg: `finetune_cfg` is a int \(3\). It is one of"):
        Runner().run("fit", [config, f"{section}::finetune_cfg=3"])
    with pytest.raises(ConfigError, match=rf"{section}::finetune_cfg: .*name starts with `hed`. There is: 0, 2"):
        Runner().run("fit", [config, f"{section}::finetune_cfg=hed"])
    with pytest.raises(ConfigError, match=rf"{section}::finetune_cfg: .*fits the pattern `\*.bais`. .*`\*.bias`"):
        Runner().run("fit", [config, f"{section}::finetune_cfg='*.bais'"])
    with pytest.raises(ConfigError, match=rf"{section}::finetune_cfg: `finetune_cfg` leaves no parameter to train"):
        Runner().run("fit", [config, f"{section}::finetune_cfg={{finetune: false, params: ['0', '2']}}"])
    torch.save(mlp().state_dict(), "pretrained.pt")
    with pytest.raises(ConfigError, match=rf"{section}::ckpt_path::skip: `ckpt_path::skip`: no weight's .*: 0, 2"):
        Runner().run("fit", [config, f"{section}::ckpt_path={{path: pretrained.pt, skip: hed}}"])


def test_names_of_a_compiled_network_are_its_own(config: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lighter")
    config["model"]["network"] = {"_target_": "tests.test_parts_on_rungs.compiled"}
    config["model"]["optimizer"]["params"] = [{"params": "2.bias", "lr": 0.1}, {"params": None}]
    config["model"]["finetune_cfg"] = "2"
    config["trainer"]["callbacks"] = [{"_target_": "tests.test_parts_on_rungs.Keep"}]
    Runner().run("fit", [config, "trainer::fast_dev_run=true"])
    assert [group["lr"] for group in Keep.module.trainer.optimizers[0].param_groups] == [0.1, 0.01]
    assert "_orig_mod" not in caplog.text  # in the table of what trains


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


class Teaching(Classifier):
    def configure_model(self):
        self.__dict__.setdefault("teacher", copy.deepcopy(self))


def test_a_copy_made_in_a_hook_has_its_own() -> None:
    module = Teaching(mlp(), nn.CrossEntropyLoss(), torch.optim.Adam, finetune_cfg="2")
    pl.Trainer(fast_dev_run=True, **QUIET).fit(module, loader(0, 64), loader(0, 9))
    assert all(parameter.requires_grad for parameter in module.teacher.network.parameters())
    pl.Trainer(fast_dev_run=True, **QUIET).fit(module.teacher, loader(0, 64), loader(0, 9))
    assert [p.requires_grad for p in module.teacher.network.parameters()] == [False, False, True, True]


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
    with pytest.raises(MisfitError, match="`loss_weights` needs named losses, and `training_step` returned one"):
        Classifier(mlp(), nn.CrossEntropyLoss(), loss_weights={"a": 1}).training_step(
            [torch.zeros(1, 64), torch.zeros(1, dtype=torch.long)], 0
        )


one = torch.ones(())


def test_weights_of_losses() -> None:
    assert LossWeights({"a": 2}).apply({"a": one, "b": one, "total": one}) == {"total": 3, "a": 2, "b": 1}
    assert LossWeights({"a": 2}).apply({"total": one}, strict=False) == {"total": 1}  # nothing is there to weigh
    with pytest.raises(ModuleValueError, match="`loss_weights` has `total`, which is the sum"):
        LossWeights({"total": 2})


def test_a_weighed_loss_may_be_missing_once_it_has_occurred() -> None:
    weights = LossWeights({"a": 2, "b": 2})
    weights.apply({"b": one}, strict=False)  # in a validation, say
    with pytest.raises(MisfitError, match=r"names `a`, and there is no such loss. There is: b."):
        weights.apply({"b": one})
    assert weights.apply({"a": one}) == {"total": 2, "a": 2}
    assert weights.apply({"b": one}) == {"total": 2, "b": 2}


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
    with pytest.raises(ConfigError, match=rf"{section}::ckpt_path: there is no checkpoint nowhere.pt"):
        Runner().run("fit", [config, f"{section}::ckpt_path=nowhere.pt"])


WARM = {"steps": 15, "start_factor": 0.1}
STEP_LR = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1, "gamma": 0.5}


def warm(steps: int, per_epoch: int = 10) -> list[float]:
    """The learning rates of `WARM` and `STEP_LR` together."""
    return [0.01 * min(1, 0.1 + 0.9 * t / 15) * 0.5 ** (t // per_epoch) for t in range(steps)]


@pytest.fixture
def warming(rung: tuple[dict[str, Any], str]) -> tuple[dict[str, Any], str]:
    config, section = rung
    config[section]["scheduler"] = {"scheduler": STEP_LR, "warmup": WARM}
    config["trainer"]["callbacks"] += [
        {"_target_": "tests.test_parts_on_rungs.Rates"},
        {"_target_": "pytorch_lightning.callbacks.LearningRateMonitor", "logging_interval": "step"},
    ]
    loader = config["data"]["train_dataloader"] if section == "model" else config[section]["dataloaders"]["train"]
    loader["shuffle"] = False  # what is resumed sees the same batches
    return config, section


def column(name: str) -> list[float]:
    """What the CSV logger of the latest run has of a value, by step."""
    [*_, file] = sorted(Path("outputs").rglob("metrics.csv"), key=lambda path: path.stat().st_mtime)
    with file.open() as rows:
        return [float(row[name]) for row in csv.DictReader(rows) if row.get(name)]


def test_warm_up_beside_a_scheduler_and_a_monitor(
    warming: tuple[dict[str, Any], str], caplog: pytest.LogCaptureFixture
) -> None:
    config, _ = warming
    with caplog.at_level("INFO", logger="lighter"):
        Runner().run("fit", [config, "trainer::max_epochs=3", "trainer::log_every_n_steps=1"])
    assert Rates.used == pytest.approx(warm(30), rel=1e-12)
    assert column("lr-Adam") == pytest.approx(warm(30))
    assert column("train/lr") == pytest.approx(warm(30)[::10])
    assert "StepLR, every epoch" in caplog.text
    assert "linear warm-up from 0.1, 15 steps" in caplog.text


def test_warm_up_counts_accumulated_batches_once(warming: tuple[dict[str, Any], str]) -> None:
    config, _ = warming
    Runner().run("fit", [config, "trainer::max_epochs=4", "trainer::accumulate_grad_batches=4"])
    assert Rates.used == pytest.approx(warm(12, per_epoch=3))  # of ten batches, the last two are a step too


def test_warm_up_is_resumed_in_the_middle(warming: tuple[dict[str, Any], str]) -> None:
    config, section = warming
    Runner().run("fit", [config, "trainer::max_epochs=3"])
    weights, whole = Keep.module.state_dict(), Rates.used
    Runner().run("fit", [config, "trainer::max_epochs=1", "run::name=half"])
    first = Rates.used
    checkpoint = next(Path("outputs").rglob("*half/checkpoints/last.ckpt"))
    Runner().run("fit", [config, "trainer::max_epochs=3"], ckpt_path=str(checkpoint))
    assert first + Rates.used == whole
    resumed = Keep.module.state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in weights.items())
    # as initial weights, the checkpoint begins a warm-up of its own; so does a fit of a module that was loaded
    Runner().run("fit", [config, f"{section}::ckpt_path={checkpoint}"])
    assert Rates.used == pytest.approx(warm(10))


def test_resuming_with_and_without_a_warm_up(
    warming: tuple[dict[str, Any], str], caplog: pytest.LogCaptureFixture
) -> None:
    config, section = warming
    without = {section: {"=scheduler": STEP_LR}}
    with caplog.at_level("INFO", logger="lighter"):
        for name, overlay in (("plain", without), ("warm", {})):
            Runner().run("fit", [config, overlay, "trainer::max_epochs=1", f"run::name={name}"])
        plain, warmed = (
            str(next(Path("outputs").rglob(f"*{name}/checkpoints/last.ckpt"))) for name in ("plain", "warm")
        )
        Runner().run("fit", [config, without, "trainer::max_epochs=2"], ckpt_path=warmed)
        assert Rates.used == [0.005] * 10
        assert "saved during a warm-up that the config does not have: it ends here" in caplog.text
        Runner().run("fit", [config, "trainer::max_epochs=2"], ckpt_path=plain)
        assert Rates.used == pytest.approx([0.5 * rate for rate in warm(10)])
        assert "no state of the linear warm-up from 0.1, 15 steps: it begins here" in caplog.text


def test_schedulers_of_torch_that_step_with_the_optimizer(rung: tuple[dict[str, Any], str]) -> None:
    config, section = rung
    config["trainer"]["callbacks"] += [{"_target_": "tests.test_parts_on_rungs.Rates"}]
    linear = {"_target_": "torch.optim.lr_scheduler.LinearLR", "start_factor": 0.1, "total_iters": 5}
    expected = [0.01 * min(1, 0.1 + 0.9 * t / 5) for t in range(10)]
    for entry in ({"scheduler": linear, "manual": True}, {"scheduler": STEP_LR, "warmup": linear}):
        Runner().run(
            "fit", [config, {section: {"=scheduler" if "scheduler" in config[section] else "scheduler": entry}}]
        )
        assert Rates.used == pytest.approx(expected)
    slow = {"scheduler": {**linear, "total_iters": 2}, "manual": True, "frequency": "$2 + 1"}
    Runner().run("fit", [config, {section: {"scheduler": slow}}])
    assert Rates.used == pytest.approx([0.01 * min(1, 0.1 + 0.9 * (t // 3) / 2) for t in range(10)])


def no_scheduler(optimizer: Any) -> nn.Module:
    return mlp()


@pytest.mark.parametrize(
    ("scheduler", "path", "message"),
    [
        ({"warmup": {"steps": 0}}, "::warmup::steps", "`steps` is a whole number, 1 or more; found 0"),
        (
            {"warmup": {"steps": 2, "kind": "cosine"}},
            "::warmup::kind",
            "a warm-up's `kind` is linear, constant, expone",
        ),
        ({"warmup": {"kind": "linear"}}, "::warmup", "a warm-up needs `steps`"),
        ({"warmup": "@vars::warm"}, "vars::warm", "a warm-up needs `steps`"),
        (
            {"scheduler": STEP_LR, "wramup": {"steps": 3}},
            "::wramup",
            r"a scheduler's dict has no `wramup`[^$]*`warmup`",
        ),
        ({"scheduler": STEP_LR, "manual": True, "monitor": "x"}, "::monitor", "a manual scheduler has no `monitor`"),
        ({"scheduler": {"_target_": "tests.jobs.mlp"}}, "::scheduler", r"tests\.jobs\.mlp cannot be called like this"),
        (
            {"_target_": "tests.test_parts_on_rungs.no_scheduler"},
            "",
            "a scheduler has a method `step`; found a Sequential",
        ),
    ],
)
def test_wrong_warm_ups_have_a_place(
    rung: tuple[dict[str, Any], str], scheduler: dict[str, Any], path: str, message: str
) -> None:
    config, section = rung
    config["vars"]["warm"] = {"kind": "linear"}
    config[section]["scheduler"] = scheduler
    place = path if path.startswith("vars") else f"{section}::scheduler{path}"
    with pytest.raises(ConfigError, match=f"^Python: {place}: {message}"):
        Runner().run("fit", [config])
