"""`System`: an experiment without a line of Python, through the runner and by itself."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

import lighter
from lighter import Runner
from lighter.adapters import (
    BatchAdapter,
    CriterionAdapter,
    LoggingAdapter,
    MetricsAdapter,
)
from lighter.errors import ConfigError, ModuleTypeError, ModuleValueError
from tests.jobs import QUIET, loader, mlp

STAGES = ("fit", "validate", "test", "predict")


@pytest.fixture
def system(config: dict[str, Any]) -> dict[str, Any]:
    """Layout B of the digits experiment."""
    model, data = config.pop("model"), config.pop("data")
    config["system"] = {
        "_target_": "lighter.System",
        "model": model["network"],
        "criterion": model["criterion"],
        "optimizer": model["optimizer"],
        "metrics": dict.fromkeys(("train", "val", "test"), "%vars::metrics"),
        "dataloaders": {mode: data[f"{mode}_dataloader"] for mode in ("train", "val", "test", "predict")},
        "adapters": {"predict": {"batch": {"_target_": "lighter.adapters.BatchAdapter", "input_accessor": 0}}},
    }
    config["trainer"]["callbacks"] = [{"_target_": "tests.test_system.Outputs"}]
    return config


class Outputs(Callback):
    """Keeps the last output of each mode."""

    seen: dict[str, Any] = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen["train"] = outputs

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.seen["val"] = outputs

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.seen["test"] = outputs

    def on_predict_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.seen["predict"] = outputs


def test_one_config_runs_all_stages(system: dict[str, Any]) -> None:
    Runner().run("fit", [system])
    [validated] = Runner().run("validate", [system], ckpt_path="best", verbose=False)
    assert validated["val/metrics/accuracy/epoch"] > 0.5
    [tested] = Runner().run("test", [system], ckpt_path="best", verbose=False)
    assert set(tested) == {"test/metrics/accuracy/epoch", "test/metrics/f1/epoch"}
    predicted = Runner().run("predict", [system], ckpt_path="best", return_predictions=True)
    assert [len(output["pred"]) for output in predicted] == [32, 18]
    keys = {"identifier", "input", "target", "pred", "loss", "metrics", "step", "epoch"}
    assert all(keys <= set(output) for output in Outputs.seen.values())
    assert Outputs.seen["train"]["step"] == 19
    assert Outputs.seen["train"]["epoch"] == 1
    assert 0 <= Outputs.seen["train"]["metrics"]["accuracy"] <= 1
    assert Outputs.seen["test"]["loss"] is None
    assert Outputs.seen["test"]["identifier"] is None
    assert Outputs.seen["predict"]["metrics"] is None


def test_a_system_learns_what_a_lighter_module_learns(system: dict[str, Any]) -> None:
    from tests.conftest import digits_config
    from tests.engine.test_runner import newest

    Runner().run("fit", [system, "run::name=b"])
    Runner().run("fit", [digits_config(), "run::name=a"])
    states = [
        torch.load(newest(name=name).checkpoints / "last.ckpt", weights_only=True)["state_dict"] for name in ("a", "b")
    ]
    for index in ("0.weight", "2.bias"):
        assert torch.equal(states[0][f"network.{index}"], states[1][f"model.{index}"])


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_builds_only_what_it_needs(system: dict[str, Any], stage: str) -> None:
    bomb = {"_target_": "not.there"}
    mode = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}[stage]
    needed = {mode, "val"} if stage == "fit" else {mode}
    for part in ("dataloaders", "metrics", "adapters"):
        for other in {"train", "val", "test", "predict"} - needed - ({"predict"} if part == "metrics" else set()):
            system["system"][part][other] = {"batch": bomb} if part == "adapters" else bomb
    if stage != "fit":
        system["system"]["optimizer"] = bomb
    if stage in ("test", "predict"):
        system["system"]["criterion"] = bomb
    Runner().run(stage, [system, "trainer::fast_dev_run=true"])


def test_modes_without_data_do_not_exist_for_lightning() -> None:
    system = lighter.System(mlp(), dataloaders={"train": loader(0, 32)})
    assert is_overridden("training_step", system)
    assert is_overridden("train_dataloader", system)
    for hook in ("validation_step", "val_dataloader", "test_step", "test_dataloader", "predict_dataloader"):
        assert not is_overridden(hook, system), hook
    assert is_overridden("validation_step", lighter.System(mlp()))


def run(system: lighter.System, stage: str = "validate", **kwargs: Any) -> Any:
    trainer = pl.Trainer(**QUIET, callbacks=[Outputs()])
    return getattr(trainer, stage)(system, **({"verbose": False} if stage in ("validate", "test") else {}), **kwargs)


def test_epoch_and_step_are_passed_to_a_model_that_wants_them() -> None:
    class Curious(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.seen = mlp(), []

        def forward(self, x, epoch, step=None):
            self.seen.append((epoch, step))
            return self.net(x)

    model = Curious()
    system = lighter.System(
        model,
        dataloaders={"train": loader(0, 64)},
        criterion=nn.CrossEntropyLoss(),
        optimizer=lambda params: torch.optim.SGD(params, 0.1),
    )
    trainer = pl.Trainer(**QUIET, max_epochs=2)
    trainer.fit(system)
    assert model.seen == [(0, 0), (0, 1), (1, 2), (1, 3)]


def test_the_inferer_serves_all_modes_but_train() -> None:
    called: list[str] = []

    def flipping(input, model):
        called.append(system.mode)
        return (model(input) + model(input.flip(1))) / 2

    system = lighter.System(mlp(), criterion=nn.CrossEntropyLoss(), inferer=flipping)
    system.optimizer = lambda params: torch.optim.SGD(params, 0.1)
    trainer = pl.Trainer(**QUIET, max_epochs=1)
    trainer.fit(system, loader(0, 64), loader(64, 96))
    trainer.test(system, loader(0, 32), verbose=False)
    system.adapters["predict"]["batch"] = BatchAdapter(0)
    trainer.predict(system, loader(0, 32))
    assert set(called) == {"val", "test", "predict"}
    assert torch.equal(system(torch.ones(1, 64)), system.model(torch.ones(1, 64)))


def test_dict_losses(system: dict[str, Any]) -> None:
    system["system"]["criterion"] = {"_target_": "tests.test_system.TwoLosses"}
    Runner().run("fit", [system, "trainer::max_epochs=1"])
    assert Outputs.seen["train"]["loss"].ndim == 0
    assert set(Outputs.seen["val"]["losses"]) == {"total", "ce", "size"}
    system["system"]["criterion"] = {"_target_": "tests.test_system.TwoLosses", "total": "ttl"}
    with pytest.raises(ModuleValueError, match=r"without `total`.*\['ttl', 'ce', 'size'\]"):
        Runner().run("fit", [system])


class TwoLosses(nn.Module):
    def __init__(self, total: str = "total") -> None:
        super().__init__()
        self.total = total

    def forward(self, pred, target):
        ce, size = nn.functional.cross_entropy(pred, target), pred.square().mean()
        return {self.total: ce + 0.1 * size, "ce": ce, "size": size}


def test_a_subclass_changes_one_thing() -> None:
    class Doubled(lighter.System):
        def compute_loss(self, input, target, pred, mode):
            return 2 * super().compute_loss(input, target, pred, mode)

        def forward(self, input):
            return super().forward(input) * 1.0

        def validation_step(self, batch, batch_idx):
            return super().validation_step(batch, batch_idx)

        def val_dataloader(self):
            return super().val_dataloader()

    values = []
    for kind in (lighter.System, Doubled):
        pl.seed_everything(1, verbose=False)
        values.append(run(kind(mlp(), dataloaders={"val": loader(0, 70)}, criterion=nn.CrossEntropyLoss())))
    assert values[1][0]["val/loss/epoch"] == pytest.approx(2 * values[0][0]["val/loss/epoch"])


def test_several_dataloaders_in_one_mode() -> None:
    system = lighter.System(
        mlp(),
        dataloaders={"val": [loader(0, 40), loader(40, 64)]},
        criterion=nn.CrossEntropyLoss(),
        metrics={"val": MulticlassAccuracy(10)},
    )
    first, second = run(system)
    assert "val/metrics/MulticlassAccuracy/epoch/dataloader_idx_0" in first
    assert "val/loss/epoch/dataloader_idx_1" in second


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: BatchAdapter(True), ModuleTypeError, "`input_accessor` is an index, a key, a callable"),
        (lambda: BatchAdapter(0, target_transforms=torch.sigmoid), ModuleValueError, "there is no target"),
        (lambda: BatchAdapter(0, input_transforms="x"), ModuleTypeError, "`input_transforms` takes a callable"),
        (lambda: CriterionAdapter(0, 2), ModuleValueError, r"without a gap; found \[0, 2\]"),
        (lambda: CriterionAdapter(0, 0), ModuleValueError, r"without a gap; found \[0, 0\]"),
        (lambda: CriterionAdapter("a", "a"), ModuleValueError, "a keyword of its own"),
        (lambda: CriterionAdapter(1.5), ModuleTypeError, "`pred_argument` is a position, the name of a keyword"),
        (
            lambda: MetricsAdapter(0, target_transforms=torch.sigmoid),
            ModuleValueError,
            "`target_transforms` is given, but `target` is not passed",
        ),
        (lambda: LoggingAdapter(pred_transforms=[1]), ModuleTypeError, r"`pred_transforms` takes.*found a int \(1\)"),
        (lambda: lighter.System("net"), ModuleTypeError, "`model` is a torch.nn.Module"),
        (
            lambda: lighter.System(mlp(), {"trian": 1}),
            ModuleValueError,
            "`dataloaders` has no `trian`. Did you mean `train`",
        ),
        (
            lambda: lighter.System(mlp(), adapters={"val": {"x": 1}}),
            ModuleValueError,
            "`adapters::val` has no `x`. There is: batch, criterion",
        ),
        (lambda: lighter.System(mlp(), adapters={"val": {"batch": 1}}), ModuleTypeError, "`adapters::val::batch` is a"),
    ],
)
def test_wrong_parts_are_found_at_construction(make: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("remove", "stage", "message"),
    [
        ("criterion", "fit", "`fit` needs `system::criterion`, and there is none"),
        ("criterion", "validate", "`validate` needs `system::criterion`"),
        ("optimizer", "fit", "`fit` needs `system::optimizer`"),
        ("dataloaders", "test", "`test` needs a dataloader[^$]*Add `system::dataloaders::test`"),
        ("model", "test", "the argument `model` is missing"),
    ],
)
def test_a_missing_part_names_the_key(system: dict[str, Any], remove: str, stage: str, message: str) -> None:
    del system["system"][remove]
    with pytest.raises(ConfigError, match=message):
        Runner().run(stage, [system])


def test_a_mode_without_data_in_a_stage_that_needs_it(system: dict[str, Any]) -> None:
    del system["system"]["dataloaders"]["test"]
    with pytest.raises(ConfigError, match="`test` needs a dataloader"):
        Runner().run("test", [system])


def test_none_in_some_samples_survives_whatever_comes_first() -> None:
    from lighter.parts.collate import collate_with_none

    one, none = {"y": torch.tensor(1), "n": 2}, {"y": None, "n": 3}
    assert collate_with_none([one, none])["y"] == [torch.tensor(1), None]
    assert collate_with_none([none, one])["y"] == [None, torch.tensor(1)]
    assert collate_with_none([none, none])["y"] is None
    assert collate_with_none([one, none])["n"].tolist() == [2, 3]


@pytest.mark.parametrize("wrap", ["MinMaxMetric", "BootStrapper", "Running"])
def test_metrics_in_wrappers_are_logged(wrap: str) -> None:
    from torchmetrics import wrappers

    metric = getattr(wrappers, wrap)(MulticlassAccuracy(10))
    system = lighter.System(
        mlp(), dataloaders={"val": loader(0, 64)}, criterion=nn.CrossEntropyLoss(), metrics={"val": metric}
    )
    [values] = run(system)
    expected = {"MinMaxMetric": {"raw", "min", "max"}, "BootStrapper": {"mean", "std"}, "Running": {"Running"}}[wrap]
    assert set(values) == {"val/loss/epoch", *(f"val/metrics/{name}/epoch" for name in expected)}


def test_a_compiled_model_still_gets_the_epoch() -> None:
    class Net(nn.Module):
        def forward(self, x, epoch):
            return x * epoch

    compiled = torch.compile(Net(), backend="eager")
    assert torch.equal(lighter.System(compiled)(torch.ones(1)), torch.zeros(1))


def test_the_users_dataloader_is_left_as_it_is() -> None:
    given = loader(0, 32)
    collate = given.collate_fn
    run(lighter.System(mlp(), dataloaders={"val": given}, criterion=nn.CrossEntropyLoss()))
    assert given.collate_fn is collate


def test_a_step_of_a_mode_without_data_says_what_to_add() -> None:
    system = lighter.System(mlp(), dataloaders={"train": loader(0, 32)})
    with pytest.raises(NotImplementedError, match=r"no `test_step`. Add `system::dataloaders::test`"):
        system.test_step(None, 0)
