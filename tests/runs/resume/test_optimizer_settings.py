"""Settings of optimizers that changed since a checkpoint take effect, whichever command resumes from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml

from lighter import Runner
from lighter.errors import ConfigError, LighterError, RunError
from tests.runs.resume.jobs import StopAt, StopError, fit_until, newest
from tests.slow import mostly_slow

ADAM = {"_target_": "torch.optim.AdamW", "lr": 0.01, "weight_decay": 0.1}
LR = "model::optimizer::lr=0.001"
ONE_CYCLE = {
    "_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.01, "epochs": "%trainer::max_epochs",
    "steps_per_epoch": 10}  # fmt: skip
LINEAR = {"_target_": "torch.optim.lr_scheduler.LinearLR", "total_iters": 20}
EXPONENTIAL = {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 0.5}
PARTS = [{**part, "optimizer": "@model::optimizer"} for part in (LINEAR, EXPONENTIAL)]
SEQUENCE = {"_target_": "torch.optim.lr_scheduler.SequentialLR", "optimizer": "@model::optimizer", "milestones": [11]}
SEQUENCE["schedulers"] = PARTS


class Seen(pl.Callback):
    """What each step is made with: the learning rate and the weight decay."""

    lrs: list[float] = []
    decays: list[float] = []

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        group = trainer.optimizers[0].param_groups[0]
        Seen.lrs.append(float(group["lr"]))
        Seen.decays.append(group["weight_decay"])


class Plain(pl.LightningModule):
    """Lightning's own kind of module, with a learning rate of its own."""

    def __init__(self, lr: float = 0.01, decay: float = 0.1) -> None:
        super().__init__()
        self.lr, self.decay, self.layer = lr, decay, torch.nn.Linear(64, 10)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=self.decay)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]


@pytest.fixture
def job(config: dict[str, Any]) -> dict[str, Any]:
    """Three epochs of ten steps."""
    config["trainer"] |= {"max_epochs": 3, "callbacks": [{"_target_": f"{__name__}.Seen"}]}
    config["model"]["optimizer"] = dict(ADAM)
    return config


def resume_by(how: str, job: dict[str, Any], overrides: list[str]) -> None:
    Seen.lrs, Seen.decays = [], []
    if how == "resume":
        Runner().resume("last", overrides)
    else:
        Runner().run("fit", [job, *overrides], ckpt_path="last")


CHANGES = {  # a scheduler's entry, and the factors of the learning rates after the first of three epochs
    "none": None,
    "by epoch": EXPONENTIAL,
    "plateau": {"scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"}, "monitor": "val/loss/epoch"},
    "warmup": {"warmup": {"steps": 25}},
    "manual": {"scheduler": EXPONENTIAL, "manual": True},
    "sequence": {"scheduler": SEQUENCE, "interval": "step"},
}


@pytest.mark.parametrize("how", mostly_slow(["resume", "fit"]))
@pytest.mark.parametrize("case", mostly_slow(CHANGES, 2))
def test_a_new_learning_rate_takes_effect(job: dict[str, Any], case: str, how: str) -> None:
    """A tenth of the learning rate: from there on, each step has a tenth of what it would have had."""
    job["model"]["scheduler"] = CHANGES[case]
    Seen.lrs = []
    Runner().run("fit", [job, "run::name=whole"])
    whole = list(Seen.lrs)
    fit_until(15, [job])
    resume_by(how, job, [LR, "model::optimizer::weight_decay=0.2"])
    assert len(Seen.lrs) == 20
    assert Seen.lrs == pytest.approx([lr / 10 for lr in whole[10:]])
    assert set(Seen.decays) == {0.2}
    config = yaml.safe_load((newest() / "config.yaml").read_text())
    assert config["model"]["optimizer"] == {**ADAM, "lr": 0.001, "weight_decay": 0.2}


@pytest.mark.parametrize("how", mostly_slow(["resume", "fit"]))
@pytest.mark.filterwarnings("ignore:You defined a `validation_step`|.*no `val_dataloader`")
def test_of_a_module_of_lightnings_too(job: dict[str, Any], how: str) -> None:
    job["model"] = {"_target_": f"{__name__}.Plain", "lr": 0.01}
    del job["data"]["val_dataloader"], job["vars"]
    fit_until(15, [job])
    resume_by(how, job, ["model::lr=0.1", "model::decay=0.3"])
    assert Seen.lrs[::10] == pytest.approx([0.05, 0.025])
    assert set(Seen.decays) == {0.3}


def test_a_change_is_not_lost_with_a_start_that_saved_nothing(job: dict[str, Any]) -> None:
    folder = fit_until(12, [job])
    StopAt.armed = True
    with pytest.raises(StopError):
        Runner().resume("last", [LR])
    StopAt.armed = False
    Seen.lrs = []
    Runner().resume(folder)
    assert set(Seen.lrs) == {0.001}


def test_what_did_not_change_stays_as_a_callback_has_set_it(job: dict[str, Any]) -> None:
    fit_until(15, [job])
    file = newest() / "checkpoints" / "last.ckpt"
    content = torch.load(file, weights_only=True)
    content["optimizer_states"][0]["param_groups"][0]["lr"] = 0.005
    torch.save(content, file)
    resume_by("fit", job, ["model::optimizer::weight_decay=0.2"])
    assert (set(Seen.lrs), set(Seen.decays)) == ({0.005}, {0.2})


REFUSED = {
    "optimizer": ("model::optimizer::_target_=torch.optim.SGD", "optimizer::_target_: this was 'torch.optim.AdamW'"),
    "state": ("model::optimizer::amsgrad=true", "amsgrad: this was not there, and is true"),
    "scheduler": ("model::scheduler::gamma=0.9", "gamma: this was 0.5, and is 0.9; .*would not be heeded"),
}


@pytest.mark.parametrize("how", mostly_slow(["resume", "fit"]))
@pytest.mark.parametrize("case", REFUSED)
def test_what_the_state_means_nothing_with_is_refused(job: dict[str, Any], case: str, how: str) -> None:
    override, message = REFUSED[case]
    job["model"]["scheduler"] = EXPONENTIAL
    fit_until(15, [job])
    with pytest.raises(ConfigError, match=message):
        resume_by(how, job, [override])
    assert len(list(Path("outputs").glob("*/*"))) == 1


def files(folder: Path) -> dict[Path, bytes]:
    """All but the log and what loggers are given at every start."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in found if path.name not in ("run.log", "events.jsonl", "hparams.yaml")}


@pytest.mark.parametrize("manual", [False, True])
def test_a_schedule_that_ends_before_the_fit_is_refused_with_its_steps(job: dict[str, Any], manual: bool) -> None:
    kind = {"manual": True} if manual else {"interval": "step"}
    job["model"]["scheduler"] = {"scheduler": ONE_CYCLE, **kind}
    Runner().run("fit", [job, "trainer::max_epochs=2"])
    folder = newest()
    before = files(folder)
    keeps = "model::scheduler::scheduler::epochs=2"
    refused: list[tuple[str, list[str], type[LighterError], str]] = [
        ("resume", [], ConfigError, "this was 2, and is 3; .* 20 steps in all, of which 20 are taken"),
        ("fit", [], ConfigError, "this was 2, and is 3; .* 20 steps in all, of which 20 are taken"),
        ("resume", [keeps], RunError, "20 steps in all, of which 20 are taken, and this fit takes 10 more"),
        ("fit", [keeps], RunError, "20 steps in all, of which 20 are taken, and this fit takes 10 more"),
    ]
    for how, overrides, error, message in refused:
        with pytest.raises(error, match=f"(?s){message}"):
            resume_by(how, job, ["trainer::max_epochs=3", *overrides])
        assert files(folder) == before
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    Seen.lrs = []
    Runner().resume(folder, ["trainer::max_epochs=3"], "no-optimizer")
    assert len(Seen.lrs) == 10
    assert Seen.lrs[0] == pytest.approx(0.01 / 25)


@pytest.mark.parametrize("override", [LR, "trainer::max_epochs=3"])
def test_a_checkpoint_without_the_settings_of_then_says_what_does_not_count(
    override: str, job: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """As earlier versions and Lightning save it."""
    folder = fit_until(15, [job])
    for path in (folder / "checkpoints").glob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        del content["lighter"]["optimizers"]
        torch.save(content, path)
    resume_by("resume", job, [override])
    assert set(Seen.lrs) == {0.01}
    told = "lr of optimizer 0, group 0 stays 0.01, and is not 0.001" in caplog.text
    assert told is (override == LR)
