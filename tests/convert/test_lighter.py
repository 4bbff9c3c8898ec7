"""Configs of Lighter 0.0 and 0.1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lighter.errors import ConfigError
from tests.convert.work import from_text, places

SYSTEM = "trainer: {max_epochs: 1}\nsystem: {_target_: lighter.System, model: {_target_: a.M}}\n"


def converted_00(folder: Path, *texts: str) -> Any:
    converted = from_text("lighter-0.0", *texts, folder=folder)
    return converted.tree.plain(), converted


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("@system#model", "@system::model"),
        ("%#train", "%::train"),
        ("%##train#0", "%::::train::0"),
        ("$@system#model.parameters() # all", "$@system::model.parameters() # all"),
        ("$f'{@vars#a}#{@vars#b#c}'", "$f'{@vars::a}#{@vars::b::c}'"),
        ("@system::model", "@system::model"),
        ("no #reference", "no #reference"),
    ],
)
def test_paths(own_place: Path, written: str, expected: str) -> None:
    tree, _ = converted_00(own_place, f'{SYSTEM}vars: {{x: "{written}"}}\n')
    assert tree["vars"]["x"] == expected


def test_another_file_is_converted_on_its_own(own_place: Path) -> None:
    tree, converted = converted_00(own_place, f'{SYSTEM}vars: {{x: "%parts.yaml#a#b"}}\n')
    assert tree["vars"]["x"] == "%parts.yaml::a::b"
    assert places(converted.left) == [(f"{own_place}/a.yaml:3:8", "vars::x")]


def test_a_later_file_replaces_sections_and_sets_paths(own_place: Path) -> None:
    second = "trainer: {devices: 2}\nsystem#model#width: 3\nsystem::model::names#0: b\n"
    first = SYSTEM.replace("_target_: a.M", "_target_: a.M, names: [a]")
    tree, _ = converted_00(own_place, first, second)
    assert tree["trainer"] == {"devices": 2}
    assert tree["system"]["model"] == {"_target_": "a.M", "names": ["b"], "width": 3}


@pytest.mark.parametrize(
    ("written", "expected", "gaps"),
    [
        ("$import math", {"math": "math"}, 0),
        ("[$import numpy as np, $from a.b import c]", {"np": "numpy", "c": "a.b.c"}, 0),
        ("{x: $import os.path}", {"os": "os"}, 0),
        ('"$import a; import b"', {"a": "a", "b": "b"}, 0),
        ("[$import math, '$print(1)']", {"math": "math"}, 1),
        ("$from a import *", None, 1),
    ],
)
def test_imports(own_place: Path, written: str, expected: dict[str, str] | None, gaps: int) -> None:
    tree, converted = converted_00(own_place, f"_requires_: {written}\n{SYSTEM}")
    assert tree.get("_imports_") == expected
    assert [gap.path for gap in converted.left] == ["_requires_"] * gaps


@pytest.mark.parametrize(
    ("written", "expected", "gaps"),
    [
        (
            "{_target_: lighter.callbacks.FileWriter, path: out, writer: tensor}",
            {
                "_target_": "lighter.callbacks.FileWriter",
                "directory": "out",
                "value_key": "pred",
                "writer_fn": "tensor",
            },
            0,
        ),
        (
            "{_target_: lighter.callbacks.LighterFileWriter, path: out, writer: itk_nifti}",
            {
                "_target_": "lighter.callbacks.FileWriter",
                "directory": "out",
                "value_key": "pred",
                "writer_fn": "tensor",
            },
            1,
        ),
        (
            "{_target_: lighter.callbacks.FileWriter, path: out, writer: $a.write}",
            {
                "_target_": "lighter.callbacks.FileWriter",
                "directory": "out",
                "value_key": "pred",
                "writer_fn": "$a.write",
            },
            0,
        ),
        (
            "{_target_: lighter.callbacks.FileWriter, path: out, writer: foo}",
            {
                "_target_": "lighter.callbacks.FileWriter",
                "directory": "out",
                "value_key": "pred",
                "writer_fn": "foo",
            },
            1,
        ),
        (
            "{_target_: lighter.callbacks.TableWriter, path: t.csv, writer: $a.row}",
            {"_target_": "lighter.callbacks.TableWriter", "path": "t.csv"},
            1,
        ),
        (
            "{_target_: lighter.callbacks.LighterFreezer, names: a}",
            {"_target_": "lighter.callbacks.Freezer", "names": "a"},
            0,
        ),
    ],
)
def test_callbacks(own_place: Path, written: str, expected: dict[str, Any], gaps: int) -> None:
    text = SYSTEM.replace("max_epochs: 1", f"callbacks: [{written}]")
    tree, converted = converted_00(own_place, text)
    assert tree["trainer"]["callbacks"] == [expected]
    assert len(converted.left) == gaps


def test_datasets_become_loaders(own_place: Path) -> None:
    text = """\
system:
  _target_: lighter.LighterSystem
  batch_size: 4
  drop_last_batch: true
  optimizers: {_target_: torch.optim.Adam, lr: 0.1}
  log_input_as: image
  train_dataset: {_target_: a.Set, n: 1}
  train_sampler: {_target_: a.Sampler, data: "@system#train_dataset"}
  val_dataset: "%#train_dataset"
  test_dataset: null
"""
    tree, converted = converted_00(own_place, text)
    loader = {"_target_": "torch.utils.data.DataLoader"}
    train = {**loader, "dataset": {"_target_": "a.Set", "n": 1}, "batch_size": 4, "drop_last": True}
    sampler = {"_target_": "a.Sampler", "data": "@system::dataloaders::train::dataset"}
    assert tree["system"] == {
        "_target_": "lighter.System",
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.1},
        "dataloaders": {
            "train": {**train, "sampler": sampler},
            "val": {**loader, "dataset": "%system::dataloaders::train::dataset", "batch_size": 4},
        },
    }
    assert [gap.path for gap in converted.left] == ["system::log_input_as"]


def test_references_to_what_the_loaders_share_move_with_it(own_place: Path) -> None:
    text = """\
vars: {a: "@system#batch_size", b: "$@system#drop_last_batch or 1", c: "@system#samplers#train"}
system:
  _target_: lighter.LighterSystem
  batch_size: 4
  drop_last_batch: true
  datasets: {train: {_target_: a.Set}, val: {_target_: a.Set}}
  samplers: {train: {_target_: a.Sampler}}
"""
    loader = "system::dataloaders::train"
    held = {"a": f"@{loader}::batch_size", "b": f"$@{loader}::drop_last or 1", "c": f"@{loader}::sampler"}
    assert converted_00(own_place, text)[0]["vars"] == held
    with pytest.raises(ConfigError, match="system::samplers: this is a dict; found a list"):
        converted_00(own_place, text.replace("{train: {_target_: a.Sampler}}", "[1]"))


def test_the_project_was_relative_to_the_working_directory(own_place: Path) -> None:
    (own_place / "configs").mkdir()
    text = f"project: ./code\nvars: {{x: \"$@project + '/x'\"}}\n{SYSTEM}"
    tree, converted = converted_00(Path("configs"), text)
    assert tree["project"] == "../code"
    assert [gap.path for gap in converted.left] == ["vars::x"]
    assert not converted_00(own_place, text)[1].left, "it is where it was"
    assert converted_00(Path("configs"), f"project: /code\n{SYSTEM}")[0]["project"] == "/code"


def test_01_moves_what_it_did_not_know(own_place: Path) -> None:
    text = """\
tokens: {_target_: a.T, size: 2}
tokens_of: 3
model:
  _target_: a.M
  first: "@tokens"
  second: "%tokens::size"
  third: "$@tokens.size + @tokens_of + @model::width"
  text: "a @tokens"
  width: 1
trainer: {gpus: 1}
"""
    converted = from_text("lighter-0.1", text, folder=own_place)
    assert converted.tree.plain() == {
        "vars": {"tokens": {"_target_": "a.T", "size": 2}, "tokens_of": 3},
        "model": {
            "_target_": "a.M",
            "first": "@vars::tokens",
            "second": "%vars::tokens::size",
            "third": "$@vars::tokens.size + @vars::tokens_of + @model::width",
            "text": "a @tokens",
            "width": 1,
        },
        "trainer": {"devices": 1, "accelerator": "gpu"},
    }
    assert not converted.left


def test_01_merges_as_we_do(own_place: Path) -> None:
    second = "trainer::max_epochs: 2\nmodel: {=net: {_target_: a.O}, ~width: null}\n"
    first = "trainer: {max_epochs: 1}\nmodel: {_target_: a.M, net: {_target_: a.N, x: 1}, width: 1}\n"
    converted = from_text("lighter-0.1", first, second, folder=own_place)
    assert converted.tree.plain() == {
        "trainer": {"max_epochs": 2},
        "model": {"_target_": "a.M", "net": {"_target_": "a.O"}},
    }
