"""One process writes; that it cannot, all of them know."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lighter.config.yaml import dump
from tests.commands import TESTS, run_command

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(("policy", "async_save"), [("stop", False), ("continue", True)])
def test_a_full_disk_does_not_leave_the_others_waiting(policy: str, async_save: bool, config: dict[str, Any]) -> None:
    config["trainer"] |= {
        "max_epochs": 4,
        "strategy": "ddp",
        "devices": 2,
        "on_save_error": policy,
        "async_save": async_save,
        "callbacks": [
            {"_target_": "tests.trainer.checkpointing.jobs.FullDisk", "epoch": 2},
            {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "monitor": "epoch", "mode": "max"}
            | {"filename": "{epoch}", "auto_insert_metric_name": False, "save_last": True},
        ],
    }
    Path("digits.yaml").write_text(dump(config))
    done = run_command("lighter", "fit", "digits.yaml", environment=TESTS)
    assert done.returncode == (1 if policy == "stop" else 0), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("2.ckpt cannot be written: No space left on device") == 1
    [folder] = Path("outputs").glob("*/*/checkpoints")
    assert {path.name: torch.load(path)["epoch"] for path in folder.iterdir()} == {"1.ckpt": 1, "last.ckpt": 1}
    first, second = (json.loads(Path(f"notes-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first[1] == [["1.ckpt"]]
