"""Pre- and post-processing of a System's adapters, as parts of what is exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.exporting.runs import export, loader, made


def system(**adapters: Any) -> dict[str, Any]:
    return {
        "seed": 1,
        "system": {
            "_target_": "lighter.System",
            "model": {"_target_": "tests.jobs.mlp"},
            "criterion": {"_target_": "torch.nn.CrossEntropyLoss"},
            "metrics": {"val": {"_target_": "tests.jobs.metrics"}},
            "dataloaders": {"val": loader(0, 32)},
            "adapters": adapters,
        },
        "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    }


def batch(transform: str, **arguments: Any) -> dict[str, Any]:
    transforms = {"_target_": transform, **arguments}
    target = "lighter.adapters.BatchAdapter"
    return {"_target_": target, "input_accessor": 0, "target_accessor": 1, "input_transforms": transforms}


POST = {"logging": {"_target_": "lighter.adapters.LoggingAdapter", "pred_transforms": [
    {"_target_": "torch.softmax", "dim": 1}, {"_target_": "torch.round", "decimals": 3}]}}  # fmt: skip
PRE = {"batch": batch("tests.exporting.parts.halved", by=4.0)}


def loaded(folder: str) -> Any:
    return torch.export.load(Path(folder, "model.pt2")).module()


@pytest.mark.long
def test_with_both(own_place: Path) -> None:
    run = made(own_place, system(val=PRE, predict=POST))
    result = export("pt2", "--with-preprocessing", "--with-postprocessing", "--output", "both", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.output)
    assert (facts["network"]["preprocessing"], facts["network"]["postprocessing"]) == (True, True)
    assert [each["name"] for each in facts["inputs"]] == ["input"]
    assert "val/metrics/accuracy/epoch" in facts["verification"]["metrics"]
    assert export("pt2", "--output", "alone").exit_code == 0
    x = torch.rand(5, 64)
    with torch.no_grad():
        expected = loaded("alone")(x / 4.0).softmax(dim=1).round(decimals=3)
        assert torch.equal(loaded("both")(x), expected)
    assert not list(run.path.glob("export/*"))


@pytest.mark.parametrize(
    ("adapters", "words", "code", "message"),
    [
        (
            {},
            ["--with-preprocessing"],
            2,
            "--with-preprocessing cannot be: `system::adapters::val::batch` has no",
        ),
        ({}, ["--with-postprocessing"], 2, "--with-postprocessing cannot be: `system::adapters::predict::logging` has"),
        (
            {"val": {"batch": batch("tests.exporting.parts.in_numpy")}},
            ["--with-preprocessing"],
            5,
            "torch.export fails: RuntimeError: .numpy() is not supported for tensor subclasses.\n  in ",
        ),
    ],
    ids=["no input", "no pred", "numpy"],
)
def test_what_cannot_be(own_place: Path, adapters: Any, words: list[str], code: int, message: str) -> None:
    made(own_place, system(**adapters))
    refused = export("pt2", *words)
    assert refused.exit_code == code
    assert refused.output.startswith(message)
    assert ("in_numpy" in refused.output or "x.numpy()" in refused.output) == (code == 5)


@pytest.mark.long
def test_onnx_with_both(own_place: Path) -> None:
    made(own_place, system(val=PRE, predict=POST))
    result = export("onnx", "--with-preprocessing", "--with-postprocessing")
    assert result.exit_code == 0, result.output
