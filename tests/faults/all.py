"""Runs every fault script, one after the other: `python -m tests.faults.all`, or with `--short` what CI runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).parent
    scripts = sorted(path.stem for path in here.glob("inject_*.py"))
    codes = [subprocess.call([sys.executable, "-m", f"tests.faults.{name}", *sys.argv[1:]]) for name in scripts]
    sys.exit(max(codes, default=1))
