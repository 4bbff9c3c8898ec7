"""Two processes (CPU, gloo): the first ends with the error of the one that failed; one may have more to validate.

A signal to one of them ends both, also where they wait for each other in each batch.
"""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.commands import TESTS, run_command

SCRIPT = """
import sys

import lighter
from tests.jobs import PlainClassifier, loader

class Fails(PlainClassifier):
    def training_step(self, batch, batch_idx):
        if self.global_rank == int(sys.argv[1]) and batch_idx == 0:
            raise ValueError("bad sample 7")
        return super().training_step(batch, batch_idx)

if __name__ == "__main__":
    trainer = lighter.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False)
    trainer.fit(Fails(), loader(0, 256), loader(256, 288))
"""
UNEQUAL = """
import lighter
import torch
from tests.jobs import PlainClassifier, loader

class Normalizes(PlainClassifier):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(4, affine=False)

    def validation_step(self, batch, batch_idx):
        self.seen = batch_idx + 1

    def on_validation_end(self):
        print(f"rank {self.global_rank}: {self.seen} batches", flush=True)

    def val_dataloader(self):
        return loader(0, 64 if self.global_rank == 0 else 256)

if __name__ == "__main__":  # log_every_n_steps: where they meet in each batch, they agree as often
    options = {"max_epochs": 2, "log_every_n_steps": 1, "logger": False, "enable_model_summary": False}
    options |= {"num_sanity_val_steps": 0, "use_distributed_sampler": False}
    lighter.Trainer(accelerator="cpu", devices=2, strategy="ddp", **options).fit(Normalizes(), loader(0, 64))
"""
SHARDED = """
import os
import signal
import sys

import lighter
from pytorch_lightning.strategies import ModelParallelStrategy
from tests.jobs import PlainClassifier, loader
from torch.distributed.fsdp import fully_shard

class Shards(PlainClassifier):
    def configure_model(self):
        fully_shard(self.network, mesh=self.device_mesh["data_parallel"])

    def validation_step(self, batch, batch_idx):
        if self.global_rank == 1 and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        self.network(batch[0])

    predict_step = validation_step

if __name__ == "__main__":
    strategy = ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1)
    options = {"logger": False, "enable_model_summary": False, "log_every_n_steps": 1}
    trainer = lighter.Trainer(accelerator="cpu", devices=2, strategy=strategy, **options)
    getattr(trainer, sys.argv[1])(Shards(), loader(0, 320))
"""


def run(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(script)
    return run_command("script.py", *arguments, cwd=folder, environment=TESTS)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("rank", "last"),
    [
        (0, "ValueError: bad sample 7"),
        (1, "lighter.errors.ProcessError: process 1 of 2 failed: ValueError: bad sample 7"),
    ],
)
def test_the_last_that_is_said_is_the_error_that_ended_the_run(rank: int, last: str, tmp_path: Path) -> None:
    done = run(SCRIPT, tmp_path, str(rank))
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].removeprefix("[rank0]: ") == last, done.stderr
    assert "TCPStore" not in done.stderr


@pytest.mark.slow
def test_one_process_may_have_more_validation_batches(tmp_path: Path) -> None:
    """Also where the module has buffers, which DDP shares in the first of them only."""
    done = run(UNEQUAL, tmp_path)
    assert done.returncode == 0, done.stderr
    said = sorted(re.findall(r"rank \d: \d batches", done.stdout))  # two processes may write into one line
    assert said == [*["rank 0: 2 batches"] * 2, *["rank 1: 8 batches"] * 2]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["validate", "predict"])
def test_processes_that_share_layers_stop_at_the_same_batch(stage: str, tmp_path: Path) -> None:
    done = run(SHARDED, tmp_path, stage)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert done.stderr.splitlines()[-1] == "stopped by SIGTERM"
