"""A process of another rank that fails is on record, whatever becomes of this one."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from lighter.engine import child_processes
from lighter.errors import ProcessError

FAILS = "import sys; sys.exit(3)"
IS_KILLED = f"import os; os.kill(os.getpid(), {signal.SIGKILL.value})"


@pytest.mark.parametrize(
    ("code", "left", "signum", "recorded"),
    [
        (FAILS, "process 1 of 2 failed: ValueError: bad sample 7", None, "ValueError: bad sample 7"),
        (FAILS, None, None, "process 1 of 2 failed with exit code 3"),
        (IS_KILLED, None, None, "process 1 of 2 was killed by signal 9"),
        (FAILS, None, signal.SIGTERM, None),
        ("", None, None, None),
    ],
    ids=["with its error", "without", "killed", "stopped by a signal", "ends well"],
)
def test_the_failure_of_another_process_is_recorded(
    code: str, left: str | None, signum: int | None, recorded: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = subprocess.Popen([sys.executable, "-c", code])
    child.wait()
    asked = threading.Event()
    monkeypatch.setattr(child_processes, "child_processes", lambda _: asked.set() or [child])
    journal: Any = mock.Mock()
    trainer = SimpleNamespace(stopping=SimpleNamespace(failure=lambda: left, signum=signum))
    before = threading.enumerate()
    with child_processes.failures_recorded(trainer, journal):
        assert asked.wait(60)
    errors = [call.args[0] for call in journal.fail.call_args_list]
    assert [type(error) for error in errors] == ([ProcessError] if recorded else [])
    assert all(recorded in str(error) for error in errors if recorded)
    assert threading.enumerate() == before
