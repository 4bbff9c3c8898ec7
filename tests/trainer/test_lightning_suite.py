"""The runner of Lightning's own tests, on a checkout with tests of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

def test_the_same(tmp_path):
    trainer = Trainer(default_root_dir=tmp_path, max_steps=2)
    trainer.fit(BoringModel())
    assert trainer.global_step == 2

def test_whose_loops(tmp_path):
    assert type(Trainer(default_root_dir=tmp_path).validate_loop).__name__ == "_EvaluationLoop"

def test_that_fails_with_both():
    assert False
"""


@pytest.mark.slow
def test_what_differs_is_told(own_place: Path) -> None:
    folder = own_place / "checkout/tests/tests_pytorch/loops"
    folder.mkdir(parents=True)
    (folder / "test_ours.py").write_text(TESTS)
    command = [sys.executable, "-m", "tests.trainer.lightning_suite", own_place / "checkout", "loops"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 1, done.stderr
    *_, name, theirs, ours, summary = done.stdout.splitlines()
    assert name.endswith("test_ours.py::test_whose_loops")
    assert theirs == "    Lightning's: passed"
    assert ours.startswith("    ours:        failed")
    assert summary == "3 tests: 1 pass with lighter.Trainer, 1 end differently than with Lightning's"


def test_a_folder_that_is_no_checkout(own_place: Path) -> None:
    command = [sys.executable, "-m", "tests.trainer.lightning_suite", own_place]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.strip() == f"{own_place} is no checkout of Lightning: it has no tests/tests_pytorch"
    assert done.returncode == 1
