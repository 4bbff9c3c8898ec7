"""Contradictions between an experiment and the config that it searches over."""

from __future__ import annotations

from typing import Any

import pytest

from lighter.config import examine
from lighter.config.problems import Problem
from lighter.engine.check import check
from lighter.engine.check.experiment import check_experiment
from tests.conftest import digits_config

SCHEDULE = {"kind": "asha", "rungs": [1]}


def problems(search: dict[str, Any], trainer: dict[str, Any] | None = None, *words: str) -> list[Problem]:
    config = digits_config()
    config["trainer"] |= {"max_epochs": 3, **(trainer or {})}
    space = {"model": {"optimizer": {"lr": [0.1, 0.01]}}}
    config["experiment"] = {"search": {"space": space, "method": "grid", "schedule": SCHEDULE, **search}}
    merged, found = examine([config, *words])
    assert merged is not None
    assert not found
    return check_experiment(merged, check(merged, "fit"))[1]


def test_a_good_experiment() -> None:
    assert problems({}) == []
    assert problems({"schedule": "none"}, {"_target_": "pytorch_lightning.Trainer", "fast_dev_run": True}) == []


@pytest.mark.parametrize(
    ("trainer", "path", "message"),
    [
        ({"_target_": "pytorch_lightning.Trainer"}, "trainer::_target_", "only lighter.Trainer can"),
        ({"fast_dev_run": True}, "trainer::fast_dev_run", "`fast_dev_run` saves none"),
        ({"fast_dev_run": 2}, "trainer::fast_dev_run", "`fast_dev_run` saves none"),
        ({"enable_checkpointing": False}, "trainer::enable_checkpointing", "a schedule needs checkpoints"),
        ({"exact_resume": False}, "trainer::exact_resume", "other random numbers"),
    ],
)
def test_trainers_that_cannot_pause(trainer: dict[str, Any], path: str, message: str) -> None:
    (found,) = problems({}, trainer)
    assert (found.path, message in found.message) == (path, True)
    assert found.origin is not None
    assert found.severity == ("warning" if "exact_resume" in trainer else "error")
    assert problems({"schedule": "none"}, trainer) == []


def test_a_space_that_searches_the_counter_of_its_schedule() -> None:
    epochs = {"space": {"trainer": {"max_epochs": [2, 3]}}}
    (found,) = problems(epochs)
    assert found.path == "experiment::search::space::trainer::max_epochs"
    assert "the schedule compares trials by `trainer::max_epochs`" in found.message
    assert problems({**epochs, "schedule": "none"}) == []


def test_a_space_that_searches_what_the_counter_refers_to() -> None:
    words = ["vars::epochs=3", "trainer::max_epochs=@vars::epochs"]
    (found,) = problems({"space": {"vars": {"epochs": [2, 3]}}}, {}, *words)
    assert found.path == "experiment::search::space::vars::epochs"


@pytest.mark.parametrize("path", ["seed", "run::name", "experiment::seeds"])
def test_a_path_that_is_not_searched(path: str) -> None:
    found = problems({}, {}, f"experiment::search::space::{path}=[1, 2]")
    assert [problem.message for problem in found] == [f"`{path}` is not searched over"]


def test_trials_of_nothing_to_search() -> None:
    (found,) = problems({}, None, "=experiment={search: {trials: 5}}")
    assert found.severity == "warning"
    assert found.message == "there is no search space, so there is one trial and not 5"
    assert problems({}, None, "=experiment={search: {trials: 1}}") == []
