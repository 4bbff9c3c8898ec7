"""Adapters of a `System`: what a batch becomes for the model, the criterion, the metrics and callbacks."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import lighter
from lighter import Runner
from lighter.adapters import BatchAdapter, CriterionAdapter
from lighter.errors import ConfigError, ModuleTypeError, ModuleValueError
from lighter.parts.model_inputs import NamedInputs, PositionalInputs
from tests.jobs import digits, loader, mlp
from tests.test_system import Outputs, run, system

assert system  # a fixture


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
    data = {"_target_": "tests.test_adapters.Masked", "keys": keys}
    loaders = {"_target_": "torch.utils.data.DataLoader", "batch_size": 16, "dataset": data}
    system["system"] |= {
        "model": {"_target_": "tests.test_adapters.Pair"},
        "criterion": {"_target_": "tests.test_adapters.two_losses", "_mode_": "callable"},
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
        "_target_": "tests.test_adapters.transformed",
        "input_transforms": {"_target_": "tests.test_adapters.make_transform", "factor": 2},
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


def test_a_transform_of_a_mode_that_does_not_run_need_not_exist(system: dict[str, Any]) -> None:
    adapter = {"_target_": "lighter.adapters.MetricsAdapter", "pred_argument": 0, "target_argument": 1}
    system["system"]["adapters"]["test"] = {"metrics": {**adapter, "pred_transforms": {"_target_": "torch.not_there"}}}
    Runner().run("validate", [system], verbose=False)
    with pytest.raises(ConfigError, match="`torch` has no `not_there`"):
        Runner().run("test", [system])
