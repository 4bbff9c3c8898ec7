"""Forks of the test's own process, which may be killed and which may be ranks of one run."""

from __future__ import annotations

import os
import signal
import socket
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from lightning_utilities.core.rank_zero import rank_zero_only

LIMIT = 600.0  # seconds after which processes hang, on a loaded machine too


def fork(job: Callable[[], object], output: Path | None = None) -> int:
    """Start a process that calls a function; returns its id.

    It exits with 0, with the code of a `SystemExit`, or with 1 after a traceback.

    Args:
        output: the file that its output and errors are appended to.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on: this process has threads
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if output:
            quiet = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
        job()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - the parent fails with what is printed here
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def exit_code(pid: int, kill_after: float | None = None) -> int:
    """Wait for a forked process; returns its code, or the negative number of the signal that ended it.

    Args:
        kill_after: seconds after which it is killed.
    """
    deadline = time.monotonic() + kill_after if kill_after is not None else None
    while deadline is not None and time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    if deadline is not None:
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def rank_variables(ranks: int) -> list[dict[str, str]]:
    """The variables of each rank of a run on this machine, as a cluster sets them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"NODE_RANK": "0", "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [{**shared, "LOCAL_RANK": str(rank)} for rank in range(ranks)]


def launch(
    job: Callable[[], object], ranks: int, kill_after: float | None, *, failing: bool = False, stopping: bool = False
) -> bool:
    """Do a job, and kill all its processes after some seconds; returns whether it ended by itself.

    What they print is appended to `output.txt`.

    Args:
        failing: one of them may fail, and takes the others with it.
        stopping: they may end with an error's code, each at its own time.
    """

    def as_rank(variables: dict[str, str]) -> None:
        if ranks > 1:
            os.environ |= variables
            rank_zero_only.rank = int(variables["LOCAL_RANK"])  # which Lightning reads when it is imported
        job()

    output = Path("output.txt")
    running = {fork(lambda of_rank=of_rank: as_rank(of_rank), output) for of_rank in rank_variables(ranks)}
    deadline = time.monotonic() + (LIMIT if kill_after is None else kill_after)
    codes: dict[int, int] = {}
    while running and time.monotonic() < deadline and not (failing and any(codes.values())):
        for pid in list(running):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes[pid] = status
                running.discard(pid)
        time.sleep(0.001)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    # one that ended waits for none, but is not waited for either
    may_fail = failing or stopping or (running and ranks > 1)
    assert may_fail or not any(codes.values()), output.read_text()
    return not running
