"""Of two processes (CPU, gloo), the first ends with the error of the one that failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import lighter
from tests.jobs import PlainClassifier, loader

class Fails(PlainClassifier):
    def training_step(self, batch, batch_idx):
        if self.global_rank == 1 and batch_idx == 0:
            raise ValueError("bad sample 7")
        return super().training_step(batch, batch_idx)

if __name__ == "__main__":
    trainer = lighter.Trainer(accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, logger=False)
    trainer.fit(Fails(), loader(0, 256), loader(256, 288))
"""


@pytest.mark.slow
def test_the_first_process_names_the_error_of_another(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=180,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "lighter.errors.ProcessError: process 1 of 2 failed: ValueError: bad sample 7" in done.stderr
