"""The lean training loop does on two processes (CPU, gloo) what Lightning's does, bit for bit, in each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import TESTS, run_command
from tests.trainer.two_processes_job import TRAINERS


@pytest.mark.slow
@pytest.mark.parametrize("hooks", ["no hooks", "all hooks but optimizer_step"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_two_processes_are_the_same(accumulate: int, hooks: str, tmp_path: Path) -> None:
    found = {}
    for name in TRAINERS:
        folder = tmp_path / name
        folder.mkdir()
        words = ["-m", "tests.trainer.two_processes_job", name, str(accumulate), hooks, str(folder)]
        done = run_command(*words, environment=TESTS)
        assert done.returncode == 0, done.stderr
        found[name] = [(folder / f"{rank}.txt").read_text() for rank in range(2)]
    assert found["lighter"] == found["lightning"]
    assert found["lightning"][0] != found["lightning"][1]
    assert "on_train_batch_end" in found["lightning"][0] or hooks == "no hooks"
