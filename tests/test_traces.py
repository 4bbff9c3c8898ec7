"""What looks for traces of tests, on tests that leave each of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.traces import TRACES

ROOT = Path(__file__).parents[1]
LEAVES = {  # the beginnings of the names of traces, and what leaves them
    "the working directory": "os.chdir('/')",
    "sys.path": "sys.path.append('/nowhere')",
    "os.environ": "os.environ['OF_A_TEST'] = '1'",
    "signal handlers": "signal.signal(signal.SIGUSR2, lambda *_: None)",
    "warning filters": "warnings.simplefilter('once')",
    "loggers": "logging.getLogger('lighter').setLevel(50)",
    "sys.excepthook": "sys.excepthook = print",
    "threading.excepthook": "threading.excepthook = print",
    "sys.unraisablehook": "sys.unraisablehook = print",
    "audit hooks": "sys.addaudithook(lambda *_: None)",
    "the garbage collector": "gc.disable()",
    "gc.callbacks": "gc.callbacks.append(print)",
    "tempfile.tempdir": "tempfile.tempdir = os.getcwd()",
    "the limit of file sizes": "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, resource.RLIM_INFINITY))",
    "deterministic algorithms": "torch.use_deterministic_algorithms(True)",
    "cuDNN's flags": "torch.backends.cudnn.benchmark = True",
    "the default dtype": "torch.set_default_dtype(torch.float64)",
    "the default device": "torch.set_default_device('meta')",
    "the number of threads": "torch.set_num_threads(2)",
    "gradients": "torch.set_grad_enabled(False)",
    "anomaly detection": "torch.autograd.set_detect_anomaly(True)",
    "the precision of products": "torch.set_float32_matmul_precision('medium')",
    "a process group": "distributed.init_process_group('gloo', store=distributed.HashStore(), rank=0, world_size=1)",
}
TEST = """
import gc, logging, os, resource, signal, sys, tempfile, threading, warnings
import torch
from torch import distributed

DRAWN = []

def draws():
    DRAWN.append(torch.rand(1).item())
    assert DRAWN[0] == DRAWN[-1]

"""


@pytest.mark.slow
def test_each_trace_fails_its_test_by_name_and_hits_no_other(own_place: Path) -> None:
    assert LEAVES.keys() == {trace.name for trace in TRACES}
    code = TEST
    for number, leaves in enumerate(LEAVES.values()):
        code += f"def test_{number:02}():\n    draws()\n    {leaves}\n\n"
    (own_place / "test_traces_left.py").write_text(code)
    (own_place / "conftest.py").write_text("from tests.conftest import no_trace\n")
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "test_traces_left.py"]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=own_place, capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("E   AssertionError: it leaves")]
    assert len(told) == len(LEAVES), done.stdout
    assert all(name in line for name, line in zip(LEAVES, told, strict=True)), told
    assert f"{len(LEAVES)} passed, {len(LEAVES)} errors" in done.stdout
