"""A fit that pauses and resumes has the bits of one that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch.optim.lr_scheduler import CosineAnnealingLR

import lighter
from lighter.engine.runner import Runner
from lighter.trainer.stopping.pause import Pause, Paused
from tests.trainer.fits import DataModule as DataModule
from tests.trainer.fits import shuffled, val_loaders
from tests.trainer.recording import Net

QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "log_every_n_steps": 1}


class Module(Net):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        # of the whole fit: with a lower max_epochs it would be another curve
        return [optimizer], [CosineAnnealingLR(optimizer, self.trainer.max_epochs)]


def config(folder: Path, **trainer: Any) -> dict[str, Any]:
    return {
        "model": {"_target_": f"{__name__}.Module"},
        "trainer": {**QUIET, "max_epochs": 4, **trainer},
        "data": {"_target_": f"{__name__}.DataModule"},
        "run": {"dir": str(folder)},
    }


def weights(outcome: Any) -> dict[str, torch.Tensor]:
    return dict(torch.load(outcome.folder.checkpoints / "last.ckpt", weights_only=True)["state_dict"])


@pytest.mark.parametrize(
    ("pauses", "progress"),
    [
        ([("max_epochs", 1)], (1, 7)),
        ([("max_epochs", 1), ("max_epochs", 3)], (3, 21)),
        ([("max_steps", 10)], (1, 10)),
        ([("max_steps", 7), ("max_steps", 20)], (2, 20)),  # 7: the last step of an epoch
    ],
)
def test_same_bits(pauses: list[tuple[str, float]], progress: tuple[int, int], tmp_path: Path) -> None:
    runner = Runner()
    whole = runner.execute("fit", config(tmp_path / "whole"))
    paused = runner.execute("fit", config(tmp_path / "paused"), pause=Pause(*pauses[0]))
    for pause in pauses[1:]:
        runner.resume(paused.folder.path, pause=Pause(*pause))
    record = json.loads(paused.folder.record.read_text())
    assert (record["status"], *record["progress"].values()) == ("paused", *progress)
    assert record["metrics"]

    runner.resume(paused.folder.path)
    assert json.loads(paused.folder.record.read_text())["status"] == "finished"
    assert paused.folder.metrics.read_text() == whole.folder.metrics.read_text()
    one, other = weights(whole), weights(paused)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_pauses_at_once_with_the_values_of_before(tmp_path: Path) -> None:
    """As after a kill between the checkpoint and the record."""
    runner = Runner()
    paused = runner.execute("fit", config(tmp_path), pause=Pause("max_epochs", 2))
    before = json.loads(paused.folder.record.read_text())
    runner.resume(paused.folder.path, pause=Pause("max_epochs", 2))
    after = json.loads(paused.folder.record.read_text())
    assert after["metrics"] == before["metrics"]
    assert after["progress"] == before["progress"]


class Fails(pl.Callback):
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 2:
            raise RuntimeError("as a kill would")


def test_after_a_kill_before_the_pause(tmp_path: Path) -> None:
    """The values of the epoch before are those of the checkpoint of its end."""
    runner = Runner()
    whole = runner.execute("fit", config(tmp_path / "whole"), pause=Pause("max_epochs", 2))
    with pytest.raises(RuntimeError, match="as a kill would"):
        runner.execute("fit", config(tmp_path / "killed", callbacks=[{"_target_": f"{__name__}.Fails"}]))
    (killed,) = (tmp_path / "killed").glob("*/*")
    runner.resume(killed, ["~trainer::callbacks"], pause=Pause("max_epochs", 2))
    before, after = (json.loads((folder / "run.json").read_text()) for folder in (whole.folder.path, killed))
    assert (after["status"], after["progress"]) == ("paused", before["progress"])
    assert after["metrics"] == before["metrics"]


def test_a_fit_that_ends_first_does_not_pause(tmp_path: Path) -> None:
    outcome = Runner().execute("fit", config(tmp_path, max_epochs=2), pause=Pause("max_epochs", 2))
    assert json.loads(outcome.folder.record.read_text())["status"] == "finished"


def test_time(tmp_path: Path) -> None:
    outcome = Runner().execute("fit", config(tmp_path, max_time={"hours": 1}), pause=Pause("max_time", 1e-3))
    record = json.loads(outcome.folder.record.read_text())
    assert (record["status"], record["progress"]["epoch"]) == ("paused", 1)


def test_in_a_script(tmp_path: Path) -> None:
    trainer = lighter.Trainer(default_root_dir=tmp_path, max_epochs=3, **QUIET)
    trainer.stopping.pause = Pause("max_epochs", 1)
    with pytest.raises(Paused):
        trainer.fit(Module(), shuffled(), val_loaders())
    assert trainer.current_epoch == 1
    assert (tmp_path / "checkpoints/last.ckpt").is_file()


def test_lightnings_trainer_cannot(tmp_path: Path) -> None:
    plain = config(tmp_path)
    plain["trainer"]["_target_"] = "pytorch_lightning.Trainer"
    with pytest.raises(lighter.errors.RunError, match=r"only lighter\.Trainer can pause a fit"):
        Runner().execute("fit", plain, pause=Pause("max_epochs", 1))


class Statuses(CSVLogger):
    """Keep what the trainer says of the end of a run."""

    told: ClassVar[list[str]] = []

    def finalize(self, status: str) -> None:
        self.told.append(status)
        super().finalize(status)


def test_loggers_are_not_told_that_a_pause_is_a_failure(tmp_path: Path) -> None:
    Statuses.told.clear()
    runner = Runner()
    logger = {"_target_": f"{__name__}.Statuses", "save_dir": str(tmp_path)}
    paused = runner.execute("fit", config(tmp_path, logger=logger), pause=Pause("max_epochs", 1))
    assert Statuses.told == ["finished"]
    assert [type(each) for each in paused.trainer.loggers] == [Statuses]
    runner.resume(paused.folder.path)
    assert Statuses.told == ["finished", "success"]
