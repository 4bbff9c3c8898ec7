"""Of two processes (CPU, gloo), the first ends with the error of the one that failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JOB = """
import sys
import lighter
from tests.jobs import PlainClassifier, loader

class Fails(PlainClassifier):
    def training_step(self, batch, batch_idx):
        if self.global_rank == 1 and batch_idx == 1:
            raise ValueError("bad sample 7")
        return super().training_step(batch, batch_idx)

trainer = lighter.Trainer(devices=2, strategy="ddp_fork", accelerator="cpu", max_epochs=1, logger=False,
                          enable_checkpointing=False, enable_model_summary=False)
class Caught(lighter.Trainer):
    pass
def fit():
    try:
        trainer.fit(Fails(), loader(0, 64))
    except Exception as error:
        print(trainer.global_rank, type(error).__name__, error, file=sys.stderr)
        raise
fit()
"""
