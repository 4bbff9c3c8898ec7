"""The section `report` of a config: its check, with places, and the runs that have it or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lighter import Runner
from lighter.config import examine
from lighter.config.problems import Problem
from lighter.config.yaml import dump
from lighter.engine.check import check
from lighter.errors import ConfigError
from tests.commands import TESTS

MISTAKES = {
    "an unknown key": ("report: {task: regression, sample: 3}", "1:28: report::sample: this key", "`samples`?"),
    "an unknown task": ("report: {task: clasification}", "1:16: report::task: this task", "`classification`?"),
    "no task": ("report: {samples: 3}", "1:9: report: a report names its `task`", "report: {task: classification"),
    "a text": ("report: classification", "1:9: report: this section is a dict", ""),
    "repeated classes": (
        "report: {task: classification, classes: [a, a]}",
        "1:41: report::classes: `classes` names",
        "",
    ),
    "too many": ("report: {task: classification, classes: 5000}", "1:41: report::classes: a report is of at most", ""),
    "classes of numbers": ("report: {task: regression, classes: [a]}", "1:37: report::classes: `classes` says", "out"),
    "a bad count": ("report: {task: regression, samples: -1}", "1:37: report::samples: `samples` is a whole", ""),
    "a bad name": ("report: {task: regression, pred: [a]}", "1:34: report::pred: `pred` is the key of", ""),
    "a section nearby": ("reports: {task: regression}", "1:1: reports: this section is unknown", "`report`?"),
}


@pytest.mark.parametrize(("text", "message", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_have_a_place(config: dict[str, Any], own_place: Path, text: str, message: str, hint: str) -> None:
    (own_place / "more.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        Runner().run("fit", [config, "more.yaml"])
    assert f"more.yaml:{message}" in str(caught.value)
    assert hint in str(caught.value)
    assert not list(Path("outputs").rglob("run.json"))


def problems(config: dict[str, Any], stage: str = "fit") -> list[Problem]:
    merged, found = examine([config])
    assert merged is not None
    assert not found
    return check(merged, stage).problems


def sequential(config: dict[str, Any], last: dict[str, Any]) -> None:
    flat = {"_target_": "torch.nn.Flatten"}
    config["model"]["network"] = {"_target_": "torch.nn.Sequential", "_args_": [flat, last]}


def test_the_classes_are_compared_with_the_outputs_of_the_last_layer(config: dict[str, Any]) -> None:
    config["report"] = {"task": "classification", "classes": ["a", "b"]}
    assert problems(config) == []  # a network of the user's own may end with anything
    for linear in ({"in_features": 64, "out_features": 10}, {"_args_": [64, 10]}):
        sequential(config, {"_target_": "torch.nn.Linear", **linear})
        (found,) = problems(config)
        assert (found.path, found.message) == (
            "report::classes",
            "`report` has 2 classes, and the last layer of the network 10 outputs",
        )
    sequential(config, {"_target_": "torch.nn.Linear", "in_features": 64, "out_features": 1})
    assert problems(config) == []
    sequential(config, {"_target_": "torch.nn.ReLU"})
    assert problems(config) == []


def test_a_fit_without_validation_is_a_warning(config: dict[str, Any]) -> None:
    config["report"] = {"task": "classification"}
    del config["data"]["val_dataloader"]
    (found,) = problems(config)
    assert (found.severity, found.hint) == ("warning", "Add `data::val_dataloader`.")
    assert problems(config, "test") == []
    folds = {"experiment": {"folds": {"kind": "plain", "n": 3}}}
    assert problems({**config, **folds}) == []


def test_values_may_refer_to_others(config: dict[str, Any]) -> None:
    config["vars"]["classes"] = [f"digit {number}" for number in range(10)]
    config["report"] = {"task": "classification", "classes": "@vars::classes", "samples": "$2 + 2"}
    runner = Runner()
    outcome = runner.execute("validate", [config])
    found = json.loads((outcome.folder.report / "val.json").read_text())
    assert found["classes"][3] == "digit 3"
    assert len(found["sheets"][0]["samples"]) == 4
    config["report"]["samples"] = "$'many'"
    with pytest.raises(ConfigError, match=r"report::samples: `samples` is a whole number from 0 on; found 'many'"):
        runner.execute("validate", [config])


def test_what_a_module_does_not_return_is_a_problem_of_the_section(config: dict[str, Any], own_place: Path) -> None:
    (own_place / "more.yaml").write_text("report: {task: classification, classes: 3}")
    with pytest.raises(ConfigError, match=r"^more.yaml:1:41: report::classes: `report` has 3 classes, .* of 10"):
        Runner().run("fit", [config, "more.yaml"])
    (own_place / "more.yaml").write_text("report: {task: segmentation}")
    with pytest.raises(ConfigError, match=r"^more.yaml:1:16: report::task: predictions are a tensor"):
        Runner().run("fit", [config, "more.yaml"])
    config["model"]["_target_"] = "tests.callbacks.evaluation.jobs.OnlyLoss"
    with pytest.raises(ConfigError, match=r"report: there are no predictions to record: `validation_step` of OnlyLoss"):
        Runner().run("fit", [config, "more.yaml"])


def test_a_report_may_change_when_a_fit_resumes(config: dict[str, Any]) -> None:
    config["trainer"]["max_epochs"] = 1
    folder = Runner().execute("fit", [config]).folder
    assert not folder.report.exists()
    Runner().resume(folder.path, ["trainer::max_epochs=2", "report={task: classification}"])
    assert json.loads((folder.report / "val.json").read_text())["epoch"] == 1


@pytest.mark.slow
def test_without_the_section_nothing_of_it_is_imported(config: dict[str, Any]) -> None:
    Path("digits.yaml").write_text(dump(config))
    code = (
        "import sys, lighter; lighter.Runner().run('fit', ['digits.yaml', 'trainer::fast_dev_run=true']);"
        "print([name for name in sys.modules if name.startswith('lighter.callbacks.evaluation')])"
    )
    words = [sys.executable, "-W", "ignore", "-c", code]
    environment = {**os.environ, **TESTS}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", ["m", "val_loss_matrix"])
def test_a_matrix_that_callbacks_see_is_not_in_the_record(config: dict[str, Any], name: str) -> None:
    config["model"] = {
        "_target_": "tests.parts.metrics.test_logged_arrays.Logging",
        "metric": {"_target_": "torchmetrics.classification.MulticlassConfusionMatrix", "num_classes": 4},
        "name": name,  # of a loss, as the line of an epoch shows it
    }
    for mode in ("train", "val"):
        config["data"][f"{mode}_dataloader"] = {"_target_": "tests.callbacks.evaluation.jobs.loader"}
    config["trainer"] |= {"max_epochs": 1, "logger": False}
    outcome = Runner().execute("fit", [config])
    assert set(outcome.metrics) == {"sum"}
    assert set(json.loads(outcome.folder.record.read_text())["metrics"]) == {"sum"}
    assert [path.name for path in outcome.folder.arrays.iterdir()] == ["val-epoch0-step7.npz"]
