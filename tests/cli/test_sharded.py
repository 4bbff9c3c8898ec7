"""Commands on a run whose checkpoints are folders of shards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lighter.config.yaml import dump
from lighter.trainer.checkpointing.sharded_reading import read_whole
from tests.commands import TESTS, run_command

pytestmark = pytest.mark.long

JOBS = "tests.trainer.checkpointing.sharded_jobs"
STRATEGY = "pytorch_lightning.strategies.ModelParallelStrategy"
CONFIG = {
    "trainer": {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 2,
        "strategy": {"_target_": STRATEGY, "data_parallel_size": 1, "tensor_parallel_size": 1},
    },
    "model": {"_target_": f"{JOBS}.Sharded"},
    "data": {
        "_target_": "lighter.LighterDataModule",
        "train_dataloader": {
            "_target_": "torch.utils.data.DataLoader",
            "dataset": {"_target_": f"{JOBS}.Numbered"},
            "batch_size": 4,
            "shuffle": True,
        },
    },
}


def lighter(*words: str, code: int = 0) -> str:
    done = run_command("lighter", *words, environment=TESTS)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_commands_take_a_folder_for_a_checkpoint(own_place: Path) -> None:
    Path("digits.yaml").write_text(dump(CONFIG))
    lighter("fit", "digits.yaml")
    [last] = Path("outputs").glob("*/*/checkpoints/last.ckpt")
    assert "resume: exact" in lighter("resume", "last", "trainer::max_epochs=3")
    assert "last.ckpt  step 36  last" in lighter("runs", "show", "last")
    lighter("export", "weights", "last")
    exported, saved = load_file(last.with_suffix(".safetensors")), read_whole(last)["state_dict"]
    assert exported.keys() == saved.keys()
    assert all(torch.equal(exported[name], saved[name]) for name in saved)

    shard = last / "__0_0.distcp"
    shard.write_bytes(shard.read_bytes()[:-9])
    refused = lighter("fit", "digits.yaml", "--ckpt_path", str(last), code=3)
    assert "last.ckpt is damaged: __0_0.distcp: it ends after" in refused
    assert "last.ckpt is damaged" in lighter("export", "weights", "last", "--force", code=3)
