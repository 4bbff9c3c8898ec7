"""Run members in processes of this machine, forked from one that has imported everything."""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lighter.errors import RunError
from lighter.experiments.executors.base import BUSY, WORKER_LOG, Ended, Task
from lighter.processes.identity import started
from lighter.processes.signals import name_of

log = logging.getLogger("lighter")

SERVER = "lighter.engine.member_server"
_PATIENCE = 60.0  # seconds that members have to save when they are told to stop
_LOOK = 0.1  # seconds between two looks at them
_MOST_DEATHS = 5  # of the server: one that dies by itself, in a module that it imports, would always do so


class LocalExecutor:
    """Processes of this machine.

    Args:
        config: the experiment's config, whose targets are imported before the first fork.
        workers: how many members run at once.
        cpus: threads of each.
        devices: for each worker the value of CUDA_VISIBLE_DEVICES; empty to leave that as it is.
    """

    def __init__(self, config: Path, workers: int, cpus: int, devices: Sequence[str] = ()) -> None:
        self.config, self.workers, self.cpus, self.devices = config, workers, cpus, devices
        self._tasks: dict[str, int] = {}  # the slot of each folder
        self._pids: dict[str, int] = {}
        self._deaths, self._is_stopping = 0, False

    def __enter__(self) -> LocalExecutor:
        self._selector = selectors.DefaultSelector()
        self._start_server()
        return self

    def _start_server(self) -> None:
        self._connection, theirs = socket.socketpair()
        self._buffer = b""
        command = [sys.executable, "-m", SERVER, str(theirs.fileno()), str(self.config)]
        # A session of its own: Ctrl-C is for the coordinator, which stops the members.
        self._server = subprocess.Popen(
            command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
        theirs.close()
        self._selector.register(self._connection, selectors.EVENT_READ)

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._selector.close()
        self._connection.close()
        self._server.wait()

    def adopt(self) -> list[Path]:
        return []  # members of an earlier coordinator are known by their locks

    def free(self) -> int:
        return self.workers - len(self._tasks)

    def start(self, task: Task) -> None:
        slot = min({*range(self.workers)} - {*self._tasks.values()})
        environment = {"OMP_NUM_THREADS": str(self.cpus), **task.environment}
        if self.devices:
            environment["CUDA_VISIBLE_DEVICES"] = self.devices[slot % len(self.devices)]
        self._tasks[task.folder] = slot
        self._send({**task.plain(), "environment": environment, "log": WORKER_LOG})

    def ended(self, timeout: float) -> list[Ended]:
        ended = self._received(timeout)
        if ended is None and self._is_stopping:  # the server ends with its last member
            time.sleep(timeout)
            return []
        return self._replace_server() if ended is None else ended

    def _received(self, timeout: float) -> list[Ended] | None:
        """Return what the server says within some seconds; None if it has ended."""
        if not self._selector.select(timeout):
            return []
        try:
            data = self._connection.recv(65536)
        except OSError:  # it was killed before it had read what was sent
            data = b""
        if not data:
            return None
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        return [ended for line in lines if (ended := self._heard(json.loads(line))) is not None]

    def _replace_server(self) -> list[Ended]:
        """Start another server after one that was killed. Its members run on, and are known by their locks."""
        code = self._server.wait()
        self._deaths += 1
        if code >= 0 or self._deaths > _MOST_DEATHS:
            reason = f"killed by {name_of(-code)}" if code < 0 else f"exit code {code}"
            raise RunError(f"the process that members are forked from ended by itself ({reason})")
        log.warning("the process that members are forked from was killed by %s; another one starts", name_of(-code))
        self._selector.unregister(self._connection)
        self._connection.close()
        left = [Ended(Path(folder), "", BUSY) for folder in self._tasks]
        self._tasks.clear()
        self._pids.clear()
        self._start_server()
        return left

    def _heard(self, message: dict[str, Any]) -> Ended | None:
        folder = message["folder"]
        if "pid" in message:
            self._pids[folder] = message["pid"]
            return None
        self._tasks.pop(folder)
        self._pids.pop(folder, None)
        code = message["code"]
        reason = f"killed by {name_of(-code)}" if code < 0 else f"exit code {code}"
        return Ended(Path(folder), reason, code)

    def stop(self) -> None:
        self._is_stopping = True
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)  # members that the server has not started yet do not start
        until = time.monotonic() + _PATIENCE
        told: set[int] = set()
        while self._tasks and time.monotonic() < until:
            for pid in {*self._pids.values()} - told:
                told.add(pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            if self._received(_LOOK) is None:
                self._forget_ended()
        for pid in self._pids.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _forget_ended(self) -> None:
        """Forget members that do not run, once no server tells of them; others may be saving."""
        time.sleep(_LOOK)
        for folder in [*self._tasks]:
            if folder not in self._pids or started(self._pids[folder]) is None:
                self._tasks.pop(folder)
                self._pids.pop(folder, None)

    def _send(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # `ended` learns that the server was killed, and returns this task too
            self._connection.sendall(json.dumps(message).encode() + b"\n")
