"""The default checkpoint callbacks, as scripts see them; and runs that leave nothing to go on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from torch.utils.data import DataLoader

from lighter.trainer.checkpointing.defaults import BestCheckpoint, LastCheckpoint
from tests.trainer.checkpointing.jobs import Scored, checkpoint, files, trainer


class Logs(Scored):
    """Logs nothing that is called as ours are, or what it is told to."""

    def __init__(self, logs: str | None) -> None:
        super().__init__([0.0, 1.0])
        self.logs = logs

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        if self.logs is not None:
            self.log(self.logs, float(self.current_epoch))

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("epoch_of", float(self.layer.weight.sum()))


def loader() -> DataLoader[Any]:
    return DataLoader(torch.arange(8.0).view(2, 4), batch_size=2)


@pytest.mark.parametrize(("logs", "best"), [(None, "last.ckpt"), ("val/loss/epoch", "best.ckpt")])
@pytest.mark.parametrize("callbacks", [[], [OnExceptionCheckpoint(".")]], ids=["", "beside another"])
def test_a_script_tests_the_best(logs: str | None, best: str, callbacks: list[Any], own_place: Path) -> None:
    run = trainer(*callbacks, max_epochs=2)
    run.fit(Logs(logs), loader(), loader())
    assert isinstance(run.checkpoint_callback, BestCheckpoint if best == "best.ckpt" else LastCheckpoint)
    assert Path(run.checkpoint_callback.best_model_path).name == best
    run.test(dataloaders=loader(), ckpt_path="best", verbose=False, weights_only=True)
    assert Path(str(run.ckpt_path)).name == best


def test_the_first_of_a_users_is_the_one(own_place: Path) -> None:
    idle, saves = checkpoint(monitor=None, every_n_epochs=9), checkpoint(monitor=None)
    run = trainer(idle, saves, max_epochs=1)
    run.fit(Logs(None), loader(), loader())
    assert run.checkpoint_callback is idle, "as in Lightning"


@pytest.mark.parametrize("callbacks", [[], [ModelCheckpoint("checkpoints", save_last=True)]], ids=["ours", "a user's"])
def test_a_fast_dev_run_saves_nothing(callbacks: list[pl.Callback], own_place: Path) -> None:
    trainer(*callbacks, fast_dev_run=True).fit(Logs(None), loader(), loader())
    assert not Path("checkpoints").exists() or files() == {}
