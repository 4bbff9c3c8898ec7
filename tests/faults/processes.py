"""Processes that do a job and may be killed; forked, with all imported, so that a kill costs little."""

from __future__ import annotations

import os
import signal
import socket
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_only


def fork(job: Any, rank: int, processes: int, port: int) -> int:
    """Start a process that does a job; returns its id."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # from 3.12 on: the parent has threads; none holds a lock here
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        quiet = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if processes > 1:
            os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": str(processes)}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            rank_zero_only.rank = rank  # which Lightning reads from there when it is imported
        job()
        code = 0
    except BaseException:  # noqa: BLE001 - the parent fails with what is printed here
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def launch(
    job: Any, processes: int, kill_after: float | None, *, failing: bool = False, stopping: bool = False
) -> bool:
    """Do a job, and kill all its processes after some seconds; returns whether it ended by itself.

    Args:
        failing: one of them may fail, and takes the others with it.
        stopping: they may end with an error's code, each at its own time.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = {fork(job, rank, processes, port) for rank in range(processes)}
    deadline = time.monotonic() + (60 if kill_after is None else kill_after)
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
    may_fail = (
        failing or stopping or (running and processes > 1)
    )  # one that ended waits for none, but is not waited for either
    assert may_fail or not any(codes.values()), Path("output.txt").read_text()
    return not running
