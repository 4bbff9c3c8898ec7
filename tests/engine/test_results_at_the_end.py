"""A fit that is stopped after its last epoch has the values of that epoch once it is resumed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl

from lighter import Runner
from lighter.trainer.stopping.pause import Pause


class StopsAtTheEnd(pl.Callback):
    is_on: ClassVar[bool] = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.is_on:
            os.kill(os.getpid(), signal.SIGTERM)


def test_stopped_after_the_last_epoch(config: dict[str, Any], own_place: Path, monkeypatch: Any) -> None:
    """Its record had the values of an earlier pause, which an experiment took for its result."""
    config["trainer"] |= {"max_epochs": 2, "callbacks": [{"_target_": f"{__name__}.StopsAtTheEnd"}]}
    Runner().execute("fit", [config])
    [whole] = own_place.glob("outputs/*/*/run.json")
    expected = json.loads(whole.read_text())["metrics"]
    folder = own_place / "member"
    folder.mkdir()
    Runner().execute("fit", [config], pause=Pause("max_epochs", 1), in_folder=folder)
    with monkeypatch.context() as patch:
        patch.setattr(StopsAtTheEnd, "is_on", True)
        with pytest.raises(SystemExit):
            Runner().resume(folder)
    Runner().resume(folder)
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["metrics"]) == ("finished", expected)
