"""The process that workers are forked from."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import atexit
import sys
from concurrent.futures import ThreadPoolExecutor
from lighter.engine.member_server import _end
pool = ThreadPoolExecutor(1)
pool.submit(print, "worked").result()
atexit.register(print, "left")
sys.exit = lambda code: print("exit", code)  # as W&B replaces it
_end(3)
"""


def test_a_worker_ends_though_a_pool_of_threads_is_left_and_tells_its_exit_code() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split(), done.stderr) == (3, ["worked", "exit", "3", "left"], "")
