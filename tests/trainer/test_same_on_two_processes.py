"""The lean training loop does on two processes (CPU, gloo) what Lightning's does, bit for bit, in each of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainer.two_processes_job import TRAINERS

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("hooks", ["no hooks", "all hooks but optimizer_step"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_two_processes_are_the_same(accumulate: int, hooks: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    found = {}
    for name in TRAINERS:
        folder = tmp_path / name
        folder.mkdir()
        words = ["-m", "tests.trainer.two_processes_job", name, str(accumulate), hooks, str(folder)]
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, env=environment, timeout=180, check=False
        )
        assert done.returncode == 0, done.stderr
        found[name] = [(folder / f"{rank}.txt").read_text() for rank in range(2)]
    assert found["lighter"] == found["lightning"]
    assert found["lightning"][0] != found["lightning"][1]
    assert "on_train_batch_end" in found["lightning"][0] or hooks == "no hooks"
