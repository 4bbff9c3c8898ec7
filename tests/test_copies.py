"""Copies of a module reach neither the trainer that it is attached to, nor its data, nor its loggers."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lighter import Runner
from tests.faults.desk import Desk, Scenario, scenarios
from tests.faults.jobs import SAVE_EVERY

RUNGS = {"LighterModule": "plain", "ForwardModule": "ForwardModule", "System": "System"}
NOT_OF_A_MODULE = (pl.Trainer, pl.LightningDataModule, pl.loggers.Logger)
COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "AveragedModel": AveragedModel,
}


def reached(root: Any, kinds: tuple[type, ...]) -> Iterator[Any]:
    """What is of some kinds, of all that can be reached from an object."""
    seen, todo = {id(root)}, [root]
    while todo:
        for one in gc.get_referents(todo.pop()):
            if id(one) not in seen and not issubclass(type(one), (type, ModuleType, FunctionType)):
                seen.add(id(one))
                if issubclass(type(one), kinds):
                    yield one
                else:
                    todo.append(one)


class Copies(pl.Callback):
    """Copies the module at some moments of a fit."""

    def __init__(self) -> None:
        self.copies: dict[str, Any] = {}

    def copy(self, module: Any, moment: str) -> None:
        self.copies |= {f"{how} at {moment}": make(module) for how, make in COPIES.items()}

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self.copy(pl_module, "setup")

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.copy(pl_module, "the end of a batch")

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self.copy(pl_module, "the end of the fit")


@pytest.mark.parametrize("rung", RUNGS)
def test_a_copy_is_on_its_own(rung: str, own_place: Path) -> None:
    desk = Desk(own_place / "desk", scenarios()[RUNGS[rung]], exact=True)
    outcome = Runner().execute("fit", [*desk.inputs(), {"trainer": {
        "limit_train_batches": 2, "max_epochs": 1, "callbacks": [{"_target_": f"{__name__}.Copies"}]}}])  # fmt: skip
    [copies] = [callback for callback in outcome.trainer.callbacks if isinstance(callback, Copies)]
    assert len(copies.copies) == 3 * len(COPIES)
    for moment, made in copies.copies.items():
        found = [*reached(made, NOT_OF_A_MODULE)]
        if rung != "System":  # which is where its dataloaders are
            found += reached(made, (DataLoader, Dataset))
        assert not found, moment
    if rung == "System":
        copied = copies.copies["deepcopy at setup"]
        assert copied.dataloaders is outcome.trainer.lightning_module.dataloaders


def test_a_trainer_pickles_after_a_fit(own_place: Path) -> None:
    from tests.trainer.resume.cuts import Job, Watch, fit

    trainer = fit(Job, Watch(None))
    data = DataLoader(TensorDataset(torch.zeros(4, 4)), 2)
    trainer.validate(trainer.lightning_module, data, verbose=False)
    assert pickle.loads(pickle.dumps(trainer)).global_step == trainer.global_step


@pytest.mark.slow
@pytest.mark.parametrize("rung", RUNGS)
def test_weights_are_averaged_on_two_processes(rung: str, own_place: Path) -> None:
    averages = {"_target_": "pytorch_lightning.callbacks.EMAWeightAveraging", "decay": 0.9}
    given = scenarios()[RUNGS[rung]].config
    config = {**given, "trainer": {"limit_train_batches": 2, "max_epochs": 1, "callbacks": [averages]}}
    desk = Desk(own_place / "desk", Scenario(rung, config, processes=2), exact=True)
    assert desk.do(desk.fit, **{SAVE_EVERY: "1"})
    assert "averaging_state" in desk.outcome().checkpoints["last"]
