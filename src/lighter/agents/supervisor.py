"""The process of a job: it starts the command, stops it when its time is over, and notes how it ended."""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from lighter.agents.jobs import CHILD, END, JOB
from lighter.files.atomic import write_whole
from lighter.processes.identity import mark_of

_GRACE = 120.0  # seconds in which a fit that is told to stop saves
_PR_SET_PDEATHSIG = 1


def main(folder: Path) -> int:
    facts = json.loads((folder / JOB).read_bytes())
    began = time.monotonic()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # what is told to stop meanwhile is told once it is there: whoever started this has blocked the signal
    process = subprocess.Popen(facts["words"], stdin=subprocess.DEVNULL, preexec_fn=_in_child)
    write_whole(folder / CHILD, json.dumps(mark_of(process.pid)))
    signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    is_over = False
    try:
        code = process.wait(max(facts["allowed"], 0.0))
    except subprocess.TimeoutExpired:
        is_over = True
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
    end = {"code": code, "seconds": time.monotonic() - began, "stopped_by_budget": is_over}
    write_whole(folder / END, json.dumps(end))
    return 0


def _in_child() -> None:
    """Have the command told to stop if this process is killed, and let it hear that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
