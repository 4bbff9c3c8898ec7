"""A process that has imported torch and Lightning, and forks one for each command that `tests/commands.py` asks for.

Run as a script, by its path, with the socket for requests as its standard input. It stays single-threaded. A forked
child takes over the streams, arguments, environment and working directory of a request, and runs the script or module
as Python would. It ends as a fresh process ends: with its own exit code or signal, after its `atexit` functions.
When the socket closes, this process kills the children that still run and ends.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import struct
import sys
import tempfile
from types import ModuleType
from typing import Any

NUMBER = struct.Struct("!i")  # the length of a request's JSON; then, as answers, a process id and a wait status
POLL_SECONDS = 0.005
ANSWERS = 3  # of a request's file descriptors, after its three standard streams


EXIT_CODES: list[Any] = []  # of this process, once it is known


@atexit.register  # before all others, so that it is called after them
def skip_finalization() -> None:
    """End without taking all modules apart, which costs more than most commands."""
    if EXIT_CODES and isinstance(EXIT_CODES[0], int | None):
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(EXIT_CODES[0] or 0)


def main() -> None:
    path, variables = sys.path[1:], dict(os.environ)  # the first entry is the folder of this script
    import_what_commands_import()
    gc.collect()
    gc.freeze()  # or the children's collections copy every page
    request = serve(socket.socket(fileno=0))
    if request is None:
        return
    imports_set = {name: value for name, value in os.environ.items() if variables.get(name) != value}
    os.environ.clear()
    os.environ.update(imports_set | request["environment"])
    os.chdir(request["cwd"])
    added = request["environment"].get("PYTHONPATH", "")
    sys.path[:] = [*(map(os.path.abspath, added.split(os.pathsep)) if added else ()), *path]
    tempfile.tempdir = None  # of the `TMPDIR` of the request
    sys.modules["numpy"].random.seed()  # a fresh process has other random numbers each time
    sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    rank_zero: Any = sys.modules["lightning_fabric.utilities.rank_zero"]
    rank_zero.rank_zero_only.rank = rank_zero._get_rank() or 0  # read from the environment at import
    try:
        run(request["words"])
    except SystemExit as end:
        EXIT_CODES.append(end.code)
        raise
    except Exception:
        EXIT_CODES.append(1)  # Python prints the traceback, then calls the functions for the exit
        raise
    EXIT_CODES.append(None)


def import_what_commands_import() -> None:
    import sklearn.datasets  # noqa: F401 - the tests' digits
    import torchmetrics.classification  # noqa: F401

    import lighter

    for name in lighter.__all__:  # also makes the two packages of Lightning one, before Lightning is imported
        getattr(lighter, name)
    for module in pkgutil.walk_packages(lighter.__path__, "lighter."):
        # `load_onnx` is a script for others; onnxruntime has threads, which a process that forks may not have
        if not module.name.endswith(("__main__", "load_onnx")):
            importlib.import_module(module.name)


def serve(requests: socket.socket) -> dict[str, Any] | None:
    """Fork a child for each request; returns the request in a child, and None when there will be no more."""
    running: dict[int, socket.socket] = {}  # where an answer is sent, by the child's process id
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            if selector.select(POLL_SECONDS if running else None):
                received = receive(requests)
                if received is None:
                    break
                request, descriptors = received
                pid = os.fork()
                if not pid:
                    take_over(requests, running, descriptors)
                    return request
                running[pid] = socket.socket(fileno=descriptors[ANSWERS])
                for descriptor in descriptors[:ANSWERS]:
                    os.close(descriptor)
            reap(running)
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    return None


def receive(requests: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    header, descriptors, _, _ = socket.recv_fds(requests, NUMBER.size, ANSWERS + 1)
    if not header:
        return None
    [length], content = NUMBER.unpack(header), b""
    while len(content) < length:
        content += requests.recv(length - len(content))
    return json.loads(content), descriptors


def reap(running: dict[int, socket.socket]) -> None:
    """Answer with the wait status of each child that has ended."""
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with running.pop(pid) as answers, contextlib.suppress(BrokenPipeError):  # nobody may wait for it any more
                answers.sendall(NUMBER.pack(status))


def take_over(requests: socket.socket, running: dict[int, socket.socket], descriptors: list[int]) -> None:
    """Lead a session of its own, with the streams of a request, in a forked child."""
    os.setsid()
    requests.detach()
    for answers in running.values():
        answers.close()
    for stream, descriptor in enumerate(descriptors[:ANSWERS]):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    with socket.socket(fileno=descriptors[ANSWERS]) as answers:
        answers.sendall(NUMBER.pack(os.getpid()))


def run(words: list[str]) -> None:
    """Run `-m MODULE ...` or `SCRIPT ...` as Python runs them."""
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path.insert(0, os.path.dirname(os.path.realpath(words[0])))
        path = os.path.abspath(words[0])
        sys.modules["__main__"] = script = ModuleType("__main__")
        script.__file__ = path
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec")
        exec(code, vars(script))


if __name__ == "__main__":
    main()
