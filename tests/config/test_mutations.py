"""A short sample of what `python -m tests.config.mutations` tries."""

from __future__ import annotations

import warnings
from pathlib import Path
from random import Random

import pytest

from lighter.config import read
from lighter.engine.claim import RunOptions
from tests.config.mutations import BASES, Outcome, mutated, originals, outcome

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("number", range(6))
def test_check_and_fit_say_the_same(number: int, own_place: Path) -> None:
    what, config = mutated(originals()[number % len(BASES)], Random(f"0-{number}"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert outcome(config).fault == "", what


def test_a_fault_is_found() -> None:
    assert Outcome(refused=True, failure=None).fault == "check refuses it, and fit runs it"
    assert "without a place" in Outcome(refused=False, failure=KeyError(1)).fault
    assert Outcome(refused=False, failure=None).fault == ""


def test_what_lightning_says_when_it_runs_has_a_place(own_place: Path) -> None:
    config = originals()[0]
    found = outcome({**config, "trainer": {**config["trainer"], "val_check_interval": 1000}})
    assert "trainer::val_check_interval: Trainer: " in str(found.failure)


@pytest.mark.parametrize("kind", ["EarlyStopping", "ModelCheckpoint"])
def test_what_a_callback_of_lightnings_says_when_it_runs_has_a_place(kind: str, own_place: Path) -> None:
    config = originals()[0]
    callback = {"_target_": f"pytorch_lightning.callbacks.{kind}", "monitor": "$'nope'"}
    found = outcome({**config, "trainer": {**config["trainer"], "callbacks": [callback]}})
    assert not found.refused
    assert "trainer::callbacks::0::monitor: nothing has logged `nope`" in str(found.failure)


def test_what_an_optimizer_refuses_is_not_that_its_parameters_are_missing(own_place: Path) -> None:
    config = originals()[0]
    config["model"]["optimizer"]["lr"] = {"_target_": "torch.nn.ReLU"}
    assert "torch.optim.Adam: '<=' not supported" in str(outcome(config).failure)


def test_an_override_may_be_longer_than_a_file_name(own_place: Path) -> None:
    word = f"model::optimizer::weight_decay=0.{'0' * 300}"
    assert RunOptions.of(read([originals()[0], word]), ["digits.yaml\0", word, "\udcff"]).name == "run"
