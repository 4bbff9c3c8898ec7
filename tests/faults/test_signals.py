from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.faults
def test_signals_at_random_moments() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(  # a process of its own, as it forks others
        [sys.executable, "-m", "tests.faults.inject_signals", "--short"],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
