"""`System`: an experiment without a line of Python, through the runner and by itself."""

from __future__ import annotations

import re
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import nn
from torch.utils.data import DataLoader, Dataset
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
from lighter.parts.model_inputs import NamedInputs, PositionalInputs
from tests.jobs import digits, loader, mlp

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


class Rows(Dataset):
    """Dicts with an identifier that is not always there."""

    def __init__(self, with_id: bool = True) -> None:
        self.base, self.with_id = digits(0, 64), with_id

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, index: int) -> dict[str, Any]:
        x, y = self.base[index]
        return {"image": x, "label": y, "id": f"row-{index}" if self.with_id else None}


BY_KEY = {"input_accessor": "image", "target_accessor": "label", "identifier_accessor": "id"}


def run(system: lighter.System, stage: str = "validate", **kwargs: Any) -> Any:
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False, callbacks=[Outputs()]
    )
    return getattr(trainer, stage)(system, **({"verbose": False} if stage in ("validate", "test") else {}), **kwargs)


@pytest.mark.parametrize("with_id", [True, False])
def test_dict_batches_and_identifiers_that_are_none(with_id: bool) -> None:
    system = lighter.System(
        mlp(),
        dataloaders={"val": DataLoader(Rows(with_id), batch_size=16)},
        criterion=nn.CrossEntropyLoss(),
        adapters={"val": {"batch": BatchAdapter(**BY_KEY)}},
    )
    [values] = run(system)
    assert "val/loss/epoch" in values
    assert Outputs.seen["val"]["identifier"] == ([f"row-{i}" for i in range(48, 64)] if with_id else None)


def test_transforms_named_by_target_alone(system: dict[str, Any]) -> None:
    system["system"]["adapters"] |= {
        "val": {
            "criterion": {"_target_": "lighter.adapters.CriterionAdapter", "pred_argument": 0, "target_argument": 1},
            "metrics": {
                "_target_": "lighter.adapters.MetricsAdapter",
                "pred_argument": "preds",
                "target_argument": "target",
                "pred_transforms": [{"_target_": "torch.softmax", "dim": 1}, {"_target_": "torch.argmax", "dim": 1}],
            },
            "logging": {
                "_target_": "lighter.adapters.LoggingAdapter",
                "pred_transforms": {"_target_": "torch.sigmoid"},
            },
        }
    }
    Runner().run("validate", [system], verbose=False)
    assert Outputs.seen["val"]["pred"].min() >= 0
    assert Outputs.seen["val"]["pred"].max() <= 1


def test_a_transform_that_is_a_class_is_made(system: dict[str, Any]) -> None:
    system["system"]["adapters"]["val"] = {
        "batch": {
            "_target_": "lighter.adapters.BatchAdapter",
            "input_accessor": 0,
            "target_accessor": 1,
            "input_transforms": [{"_target_": "torch.nn.Flatten"}],
        }
    }
    Runner().run("validate", [system], verbose=False)


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
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
    trainer.fit(system)
    assert model.seen == [(0, 0), (0, 1), (1, 2), (1, 3)]


def test_the_inferer_serves_all_modes_but_train() -> None:
    called: list[str] = []

    def flipping(input, model):
        called.append(system.mode)
        return (model(input) + model(input.flip(1))) / 2

    system = lighter.System(mlp(), criterion=nn.CrossEntropyLoss(), inferer=flipping)
    system.optimizer = lambda params: torch.optim.SGD(params, 0.1)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
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
    ("accessor", "batch", "message"),
    [
        ("image", [1, 2], "the key 'image', which does not fit the batch: it is a list of 2"),
        ("image", {"img": 1, "y": 2}, "a dict with the keys 'img', 'y'"),
        (2, (1, 2), "the index 2, which does not fit the batch: it is a tuple of 2"),
        (0, torch.zeros(2, 3), r"a tensor of shape \(2, 3\) and dtype float32"),
    ],
)
def test_an_accessor_that_does_not_fit_says_what_the_batch_was(accessor: Any, batch: Any, message: str) -> None:
    with pytest.raises(ModuleValueError, match=message):
        BatchAdapter(accessor)(batch)


def test_adapters_do_what_they_say() -> None:
    called: list[Any] = []
    adapter = CriterionAdapter("pred", 0, 1, pred_transforms=[torch.neg], target_transforms=lambda value: value + 1)
    adapter(lambda *args, **kwargs: called.append((args, kwargs)), "input", 1, torch.tensor(2))
    assert called == [((2, "input"), {"pred": torch.tensor(-2)})]
    assert BatchAdapter(lambda batch: batch * 2)(3) == (6, None, None)
    assert BatchAdapter(None)("all") == ("all", None, None)


class Pair(nn.Module):
    """Two inputs, as BERT with a mask or a network of two images has."""

    calls: list[Any] = []

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, image, mask, *, epoch):
        self.calls.append((mask.dtype, epoch))
        return self.layer(image * mask)


class Masked(Dataset):
    """An image, a mask and two targets; as a tuple, or a dict."""

    def __init__(self, keys: Any = None) -> None:
        self.data, self.keys = digits(0, 32), keys

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index):
        image, digit = self.data[index]
        sample = (image, image > 0, digit, image.sum())
        return dict(zip(self.keys, sample, strict=True)) if self.keys else sample


def two_losses(pred, digit, *, ink):
    return nn.functional.cross_entropy(pred, digit) + 0 * ink.mean()


@pytest.mark.parametrize(
    ("keys", "inputs", "targets", "places"),
    [
        (None, [0, 1], [2, 3], [1, "ink"]),
        (None, {"image": 0, "mask": "$lambda batch: batch[1]"}, {"digit": 2, "ink": 3}, {"digit": 1, "ink": "ink"}),
        (["x", "m", "y", "z"], ["x", "m"], ["y", "z"], [1, "ink"]),
        (["x", "m", "y", "z"], {"image": "x", "mask": "m"}, {"a": "y", "b": "z"}, {"a": 1, "b": "ink"}),
    ],
)
def test_several_inputs_and_targets(system: dict[str, Any], keys: Any, inputs: Any, targets: Any, places: Any) -> None:
    batch = {"_target_": "lighter.adapters.BatchAdapter", "input_accessor": inputs, "target_accessor": targets}
    criterion = {"_target_": "lighter.adapters.CriterionAdapter", "pred_argument": 0, "target_argument": places}
    data = {"_target_": "tests.test_system.Masked", "keys": keys}
    loaders = {"_target_": "torch.utils.data.DataLoader", "batch_size": 16, "dataset": data}
    system["system"] |= {
        "model": {"_target_": "tests.test_system.Pair"},
        "criterion": {"_target_": "tests.test_system.two_losses", "_mode_": "callable"},
        "dataloaders": dict.fromkeys(("train", "val", "predict"), loaders),
        "adapters": {mode: {"batch": batch, "criterion": criterion} for mode in ("train", "val")}
        | {"predict": {"batch": {**batch, "target_accessor": None}}},
    }
    system["system"].pop("metrics")
    Pair.calls.clear()
    Runner().run("fit", [system])
    assert (torch.bool, 1) in Pair.calls
    assert type(Outputs.seen["train"]["input"]) is (tuple if isinstance(inputs, list) else dict)
    [first, _] = Runner().run("predict", [system], ckpt_path="best", return_predictions=True)
    assert first["pred"].shape == (16, 10)


def test_one_dict_or_list_is_still_one_input() -> None:
    whole = lighter.System(nn.Identity(), adapters={"predict": {"batch": BatchAdapter(None)}})
    for batch in ({"image": 1}, [1, 2], (1, 2)):
        assert whole.step(batch, "predict")["pred"] == batch
    assert type(BatchAdapter(lambda batch: {"a": batch[0]})([1, 2])[0]) is dict


def test_transforms_of_several_inputs_get_all_of_them() -> None:
    swapped = BatchAdapter([0, 1], input_transforms=lambda inputs: inputs[::-1])([1, 2])[0]
    assert swapped == (2, 1)
    assert isinstance(swapped, PositionalInputs)
    named = BatchAdapter({"a": 0}, input_transforms=lambda inputs: {**inputs, "b": 3})([1])[0]
    assert named == {"a": 1, "b": 3}
    assert isinstance(named, NamedInputs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchAdapter([]), "`input_accessor` names the values that it takes"),
        (lambda: BatchAdapter([0, None]), "`input_accessor::1` is an index, a key or a callable"),
        (
            lambda: BatchAdapter({"a": [0]}),
            "`input_accessor::a` is an index, a key, a callable on the batch or null; f",
        ),
        (lambda: BatchAdapter(0, 1, [2]), "`identifier_accessor` is an index"),
        (lambda: BatchAdapter({"a": 0, "b": "x"})([1, 2]), "`input_accessor::b` is the key 'x', which does not fit"),
        (lambda: BatchAdapter(0, [1, 2])([1, 2]), "`target_accessor::1` is the index 2, which does not fit the batch"),
        (lambda: CriterionAdapter(0, [1, None]), "`target_argument` is a position, .* a list or dict of"),
        (lambda: CriterionAdapter(0, []), "`target_argument` is a position, .* a list or dict of"),
        (lambda: CriterionAdapter(0, [1, 3]), "are 0, 1, ... without a gap; found .0, 1, 3."),
        (lambda: CriterionAdapter(0, {"a": "x", "b": "x"}), "each argument has a keyword of its own"),
        (lambda: CriterionAdapter(0, [1, 2])(max, 0, (1, 2, 3), 0), "has 2 places, .* target is a tuple of 3"),
        (lambda: CriterionAdapter(0, [1])(max, 0, {"a": 1}, 0), "has 1 places, .* target is a dict with the key 'a'"),
        (lambda: CriterionAdapter(0, {"b": 1})(max, 0, {"a": 1}, 0), "`target_argument::b` .* target is a dict with"),
    ],
)
def test_several_values_that_are_not_there(make: Any, message: str) -> None:
    with pytest.raises((ModuleTypeError, ModuleValueError), match=message):
        make()


class TwoInputs(nn.Module):
    def forward(self, first, second):
        return first


@pytest.mark.parametrize(
    ("accessor", "notes"),
    [
        (None, ["the model was called with a list of 2: [None, None]; ", "it got this as one argument; `input_acc"]),
        ([0, 1, 1], ["the model was called with (None, None, None); `system::"]),
        ({"x": 0}, ["the model was called with (x=None); `system::adapters::predict::batch` chose that"]),
    ],
)
def test_a_model_that_does_not_take_its_inputs_shows_them(accessor: Any, notes: list[str]) -> None:
    system = lighter.System(TwoInputs(), adapters={"predict": {"batch": BatchAdapter(accessor)}})
    with pytest.raises(TypeError) as caught:
        system.step([None, None], "predict")
    assert len(caught.value.__notes__) == len(notes)
    assert all(found.startswith(note) for found, note in zip(caught.value.__notes__, notes, strict=True))


def test_a_loss_that_does_not_take_its_arguments_shows_them() -> None:
    system = lighter.System(mlp(), dataloaders={"val": loader(0, 32)}, criterion=nn.CrossEntropyLoss(torch.ones(3)))
    with pytest.raises(RuntimeError) as caught:
        run(system)
    assert caught.value.__notes__ == [
        "the criterion was called with (pred: a tensor of shape (32, 10) and dtype float32, target: a tensor of shape"
        " (32,) and dtype int64)",
        "in the config, this adapter is the default of `system::adapters::val::criterion`",
    ]


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


def test_a_model_that_gets_the_whole_batch_says_so() -> None:
    system = lighter.System(mlp(), dataloaders={"predict": loader(0, 32)})
    with pytest.raises(TypeError) as caught:
        run(system, "predict")
    assert caught.value.__notes__[0].startswith("the model was called with a list of 2: [a tensor of shape (32, 64)")
    assert caught.value.__notes__[0].endswith("; the default of `system::adapters::predict::batch` chose that")
    assert caught.value.__notes__[1].startswith("it takes one input, and got all of these; `input_accessor: 0` passes")


@pytest.mark.parametrize(
    ("network", "batch", "advice"),
    [
        (nn.Flatten(), [None, None], "it takes one input, and got all of these; `input_accessor: 0` passes"),
        (nn.Linear(2, 2), {"image": None, "label": None}, "it takes one input, .*`input_accessor: image` passes"),
        (nn.Linear(2, 2), ([None],), "it takes one input"),
        (TwoInputs(), {"a": None}, r"it got this as one argument; `input_accessor: \[0, 1\]`"),
    ],
)
def test_how_a_model_gets_less_than_the_whole_batch(network: nn.Module, batch: Any, advice: str) -> None:
    with pytest.raises((TypeError, AttributeError)) as caught:
        lighter.System(network).step(batch, "predict")
    assert re.match(advice, caught.value.__notes__[1])


def test_an_input_that_is_a_list_itself_is_not_advised_on() -> None:
    with pytest.raises(TypeError) as caught:
        lighter.System(nn.Linear(2, 2)).step([[None], None], "val")
    assert len(caught.value.__notes__) == 1


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


def test_transforms_named_by_target_work_through_references(system: dict[str, Any]) -> None:
    adapter = {"_target_": "lighter.adapters.MetricsAdapter", "pred_argument": 0, "target_argument": 1}
    adapter["pred_transforms"] = {"_target_": "torch.softmax", "dim": 1}
    system["vars"]["adapter"] = adapter
    system["system"]["adapters"]["train"] = {"metrics": {**adapter}}
    for reference in ("@vars::adapter", "%vars::adapter", "@system::adapters::train::metrics"):
        system["system"]["adapters"]["val"] = {"metrics": reference}
        Runner().run("validate", [system], verbose=False)


def test_arguments_of_the_users_own_that_are_called_like_transforms_are_made(system: dict[str, Any]) -> None:
    system["system"]["dataloaders"]["val"]["dataset"] = {
        "_target_": "tests.test_system.transformed",
        "input_transforms": {"_target_": "tests.test_system.make_transform", "factor": 2},
    }
    Runner().run("validate", [system], verbose=False)


def make_transform(factor: int) -> Any:
    return lambda x: factor * x


def transformed(input_transforms: Any) -> Any:
    assert input_transforms(3) == 6
    return digits(0, 32)


def test_an_adapter_in_the_wrong_place() -> None:
    with pytest.raises(ModuleTypeError, match=r"`adapters::val::criterion` is a lighter.adapters.CriterionAdapter"):
        lighter.System(mlp(), adapters={"val": {"criterion": BatchAdapter(0)}})
    with pytest.raises(ModuleValueError, match="this adapter passes nothing to the criterion"):
        CriterionAdapter()


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


def test_a_transform_of_a_mode_that_does_not_run_need_not_exist(system: dict[str, Any]) -> None:
    adapter = {"_target_": "lighter.adapters.MetricsAdapter", "pred_argument": 0, "target_argument": 1}
    system["system"]["adapters"]["test"] = {"metrics": {**adapter, "pred_transforms": {"_target_": "torch.not_there"}}}
    Runner().run("validate", [system], verbose=False)
    with pytest.raises(ConfigError, match="`torch` has no `not_there`"):
        Runner().run("test", [system])
