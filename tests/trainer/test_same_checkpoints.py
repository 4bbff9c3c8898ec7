"""Checkpoints of the lean loops and of Lightning's are the same, and go on in both."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

import lighter
from tests.trainer.fits import SEEN, Job, assert_same, by_step, run
from tests.trainer.recording import describe

pytestmark = pytest.mark.filterwarnings("ignore")

SAVING = Job(
    options={"schedule": by_step},
    trainer={"accumulate_grad_batches": 2, "max_epochs": 2, "val_check_interval": 3},
    callbacks=lambda folder: [
        ModelCheckpoint(folder, filename="{step}-{epoch}", every_n_train_steps=1, save_top_k=-1, save_last=True),
        ModelCheckpoint(folder, filename="val-{step}", monitor="val/loss", save_top_k=-1),
    ],
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[type[pl.Trainer], dict[str, Path]]:
    """The checkpoints of the same fit by both trainers, by name."""
    found = {}
    for trainer_class in (pl.Trainer, lighter.Trainer):
        folder = tmp_path_factory.mktemp("saved") / "run"
        run(trainer_class, SAVING, folder, SEEN["no hooks"])
        found[trainer_class] = {path.name: path for path in sorted((folder / "checkpoints").glob("*.ckpt"))}
    return found


def test_checkpoints_are_the_same(saved: dict) -> None:
    ours, theirs = saved[lighter.Trainer], saved[pl.Trainer]
    assert ours.keys() == theirs.keys()
    assert len(ours) > 8
    for name, path in theirs.items():
        mine, expected = (torch.load(p, weights_only=False) for p in (ours[name], path))
        assert list(mine) == list(expected)
        for checkpoint in (mine, expected):
            checkpoint["callbacks"] = list(checkpoint["callbacks"])  # their states name the folder
        assert describe(mine) == describe(expected), name


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_checkpoints_go_both_ways(every: int, saved: dict, tmp_path: Path) -> None:
    """Each trainer goes on from the checkpoints of each, and all end the same."""
    names = list(saved[pl.Trainer])[::every]
    for name in names:
        reference = None
        for saver in (pl.Trainer, lighter.Trainer):
            for resumer in (pl.Trainer, lighter.Trainer):
                job = SAVING._replace(callbacks=lambda _: [], trainer={**SAVING.trainer, "max_epochs": 3})
                resumed = run(
                    resumer, job, tmp_path / "run", SEEN["all hooks of callbacks"], ckpt_path=saved[saver][name]
                )
                shutil.rmtree(tmp_path / "run")
                resumed.events = [event for event in resumed.events if event[1] != "on_load_checkpoint"]
                reference = reference or resumed
                assert_same(resumed, reference)
