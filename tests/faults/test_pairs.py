from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.faults
def test_one_process_at_a_time_has_a_run() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(  # a process of its own, as it forks others
        [sys.executable, "-m", "tests.faults.inject_pairs", "--short"],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
