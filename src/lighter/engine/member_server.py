"""A process that has imported everything, from which the workers of a local experiment are forked.

A fork takes 0.05 s where a new process imports for several seconds. `executors/local.py` starts it, with the number of
an open socket and the path of a config as arguments, and sends it a line of JSON for each worker. It answers with a
line when a worker ends. When the socket is closed, it starts no more and ends after its last worker.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import platform
import selectors
import signal
import socket
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn

from lighter import lightning_alias
from lighter.config.tree import Node, is_target
from lighter.files.run_folder import root_of
from lighter.processes.signals import STOPS
from lighter.runs import provenance
from lighter.runs.secrets import Secrets
from lighter.runs.source import keep_source

_USED = (
    *(f"lighter.{name}" for name in ("data", "runs.resume.fit", "trainer.full", "trainer.stopping.pause")),
    *(f"lighter.engine.{name}" for name in ("build", "check", "child_processes", "failures", "member", "recorder")),
    *(f"lighter.engine.{name}" for name in ("runner", "start_checkpoint", "stopping")),
    *("fsspec.implementations.chained", "torch.utils.serialization.config", "torchmetrics"),
)
"""Modules that every fit imports, if only when it comes to use them."""


def main(descriptor: int, config: str) -> int:
    # Whoever sends a signal to all processes stops the coordinator and the workers, which need this one until they end.
    for signum in STOPS:
        signal.signal(signum, signal.SIG_IGN)
    with ExitStack() as stack:
        _import_everything(config, stack)
        gc.freeze()  # collections in a worker would copy the pages of all that is here
        connection = socket.socket(fileno=descriptor)
        task = _serve(connection)
        if task is not None:
            connection.close()
            _end(_work(task))
    return 0


def _import_everything(config: str, stack: ExitStack) -> None:
    from lighter.config import read
    from lighter.engine.check import check
    from lighter.engine.execution import user_code_importable
    from lighter.trainer.checkpointing.manifest import versions

    lightning_alias.install()
    for name in _USED:
        importlib.import_module(name)
    merged = read([config])
    stack.enter_context(user_code_importable(merged, []))
    modules = {module for _, node in merged.merged.walk() for module in _module_of(node)}
    for module in sorted(modules):
        # What is wrong with it is said where it is used.
        with suppress(Exception):
            importlib.import_module(module)
    with suppress(Exception):
        check(merged, "fit")  # the workers find its signatures and classes known
    versions()
    provenance.software()
    provenance.hardware()
    keep_source(Path.cwd(), Secrets(merged.merged.plain()), without=root_of(Path(config)))


def _module_of(node: Node) -> list[str]:
    target = node.child("_target_") if is_target(node.value) else None
    name = target.value if target is not None else None
    return [name.rpartition(".")[0]] if isinstance(name, str) and "." in name else []


def _serve(connection: socket.socket) -> dict[str, Any] | None:
    """Fork a worker for each line, and report those that end. Return the task in a worker, None at the end."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    workers: dict[int, str] = {}
    buffer, is_open = b"", True
    with selectors.DefaultSelector() as selector:
        selector.register(read_end, selectors.EVENT_READ)
        selector.register(connection, selectors.EVENT_READ)
        while is_open or workers:
            for key, _ in selector.select():
                if key.fileobj is not connection:
                    os.read(read_end, 1024)
                    continue
                data, is_open = _received(connection)
                buffer += data
                if not is_open:
                    # What the coordinator asked for before it was killed, the next one asks for too.
                    buffer = b""
                    selector.unregister(connection)
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                task = json.loads(line)
                pid = _fork()
                if pid == 0:
                    os.close(read_end)
                    os.close(write_end)
                    return dict(task)
                workers[pid] = task["folder"]
                _tell(connection, {"folder": task["folder"], "pid": pid})
            for pid, status in _reaped(workers):
                _tell(connection, {"folder": workers.pop(pid), "code": os.waitstatus_to_exitcode(status)})
    return None


def _fork() -> int:
    """Fork a worker, which has the signals' default handlers; a signal that comes meanwhile waits for them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        for signum in (signal.SIGCHLD, *STOPS):
            signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    return pid


def _received(connection: socket.socket) -> tuple[bytes, bool]:
    """Return all that has been sent, and whether the connection is still open."""
    received = b""
    try:
        while data := connection.recv(65536, socket.MSG_DONTWAIT):
            received += data
    except BlockingIOError:
        return received, True
    except OSError:
        pass
    return received, False


def _tell(connection: socket.socket, message: dict[str, Any]) -> None:
    with suppress(OSError):  # the coordinator was killed: the next one reads the folders
        connection.sendall(json.dumps(message).encode() + b"\n")


def _reaped(workers: dict[int, str]) -> list[tuple[int, int]]:
    ended = [os.waitpid(pid, os.WNOHANG) for pid in workers]
    return [(pid, status) for pid, status in ended if pid]


def _work(task: dict[str, Any]) -> int:
    """Run a task in a forked process, with its own log."""
    from lighter.engine import member

    os.setsid()
    log = os.open(Path(task["folder"]) / task["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, number)
    if _is_unsafe_to_fork():
        environment = {**os.environ, member.TASK: json.dumps(task)}
        os.execve(sys.executable, [sys.executable, "-m", member.__name__], environment)
    return member.run_member(task)


def _is_unsafe_to_fork() -> bool:
    """Return whether a worker has to import everything by itself."""
    import torch

    # If an import of the user's has started CUDA, forked processes cannot use it; on macOS system libraries cannot be
    # used after a fork.
    has_begun: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return has_begun or platform.system() == "Darwin"


def _end(code: int) -> NoReturn:
    """End a forked process as Python would, but without taking all that was imported apart, which takes a second."""
    with suppress(SystemExit):
        sys.exit(code)  # which W&B listens to: without it, a member that failed is `finished` there
    # Python's own first step: it wakes the idle threads of pools, as trackers leave them, and waits for all threads.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), sys.argv[2]))
