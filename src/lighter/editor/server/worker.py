"""The process that imports what configs name, and checks them with it; the server talks to it in lines of JSON.

The host imports torch, Lightning and Lighter once, and nothing of the user's. For each generation of user code it
forks a child, which answers the requests. A child that crashes, hangs or holds old code is replaced by a fork, in
milliseconds. What user code prints goes to stderr, and what it reads is empty: the channel has descriptors of its own.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from lighter.config import Config
    from lighter.config.problems import Problem

_CHUNK = 1 << 16
_LIBRARIES: set[str] = set()  # modules that were imported before any of the user's


class Request(TypedDict):
    """A question of the server.

    Attributes:
        do: `check` or `schema`.
        generation: what is to be forgotten when it changes: the root, the trust and the version of user code.
        root: the working directory, as of `lighter check`.
        file: the config, relative to the root where it is in it.
        texts: the texts that the editor has open, by resolved path.
        trusted: whether code of the workspace may be imported.
        roots: the folders of the workspace.
        safe: the options of safe mode; None without it.
    """

    id: int
    do: str
    generation: str
    root: str
    file: str
    texts: dict[str, str]
    trusted: bool
    roots: list[str]
    safe: dict[str, Any] | None


def main(user_path: list[str]) -> None:
    """Run the host until its input ends; `user_path` is the `sys.path` of a worker that is trusted."""
    requests, answers = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.dup2(2, 1)
    sys.dont_write_bytecode = True  # by a file's time in seconds, it would hide a second edit within one
    from lighter import lightning_alias

    lightning_alias.install()
    import lighter.editor.schema
    import lighter.engine.check.second_tier  # noqa: F401

    _LIBRARIES.update(sys.modules)
    gc.freeze()
    _Host(requests, answers, user_path).run()


class _Host:
    def __init__(self, requests: int, answers: int, user_path: list[str]) -> None:
        self.requests, self.answers, self.user_path = requests, answers, user_path
        self.selector = selectors.DefaultSelector()
        self.selector.register(requests, selectors.EVENT_READ)
        self.generation, self.pid, self.to_child, self.from_child = "", 0, -1, -1

    def run(self) -> None:
        pending = b""
        while True:
            for key, _ in self.selector.select():
                data = os.read(key.fd, _CHUNK)
                if key.fd == self.requests and not data:
                    self.stop()
                    return
                if key.fd == self.requests:
                    *lines, pending = (pending + data).split(b"\n")
                    for line in lines:
                        self.forward(line)
                elif data:
                    _write(self.answers, data)
                else:
                    status = self.stop()
                    _write(self.answers, b"\n" + json.dumps({"ended": status}).encode() + b"\n")

    def forward(self, line: bytes) -> None:
        generation = json.loads(line)["generation"]
        if self.pid and generation != self.generation:
            self.stop()
            _write(self.answers, b"\n")
        if not self.pid:
            self.generation = generation
            self.fork()
        with contextlib.suppress(BrokenPipeError):  # it has ended: its answers' end says so
            _write(self.to_child, line + b"\n")

    def fork(self) -> None:
        (ours, to_child), (from_child, theirs) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for fd in (self.requests, self.answers, to_child, from_child):
                os.close(fd)
            _Child(ours, theirs, self.user_path).run()
        os.close(ours)
        os.close(theirs)
        self.to_child, self.from_child = to_child, from_child
        self.selector.register(from_child, selectors.EVENT_READ)

    def stop(self) -> int:
        """End the child, if there is one, and return its status."""
        if not self.pid:
            return 0
        self.selector.unregister(self.from_child)
        os.close(self.from_child)
        os.close(self.to_child)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


class _Child:
    def __init__(self, requests: int, answers: int, user_path: list[str]) -> None:
        self.requests, self.answers, self.user_path = requests, answers, user_path
        self.is_ready = False

    def run(self) -> None:
        """Answer requests until there are no more. It never returns."""
        code = 1
        try:
            for line in self.lines():
                request: Request = json.loads(line)
                answer = {"id": request["id"], **self.answered(request)}
                _write(self.answers, json.dumps(answer).encode() + b"\n")
            code = 0
        finally:
            os._exit(code)

    def lines(self) -> Iterator[bytes]:
        pending = b""
        while data := os.read(self.requests, _CHUNK):
            *lines, pending = (pending + data).split(b"\n")
            yield from lines

    def answered(self, request: Request) -> dict[str, Any]:
        os.chdir(request["root"])
        if not self.is_ready:
            self.is_ready = True
            self.prepare(request)
        try:
            return answer(request)
        except Exception as error:  # noqa: BLE001  a fault of ours, which must not end the server
            import traceback

            traceback.print_exc()
            return {"failed": f"{type(error).__name__}: {error}"}

    def prepare(self, request: Request) -> None:
        if request["trusted"]:
            sys.path[:] = self.user_path
            return
        from lighter.editor.server.gate import Gate

        os.environ.pop("LIGHTER_PROJECT", None)
        Gate(request["roots"]).install()


def answer(request: Request) -> dict[str, Any]:
    """Return the second tier's problems, or the schema; nothing where the config cannot be read."""
    import importlib

    from lighter.config.sources import OPEN_TEXTS
    from lighter.processes.garbage_collection import without_collections

    importlib.invalidate_caches()
    token = OPEN_TEXTS.set({Path(path): text for path, text in request["texts"].items()})
    try:
        with without_collections():
            return _answer(request)
    finally:
        OPEN_TEXTS.reset(token)


def _answer(request: Request) -> dict[str, Any]:
    from lighter.config import examine
    from lighter.config.safe import SafeMode

    options = request["safe"]
    safe = SafeMode(**options) if options is not None else None
    config, problems = examine([Path(request["file"])], safe)
    # Of an untrusted config nothing is imported unless the first tier finds no problem.
    if config is None or (config.safe is not None and problems):
        return {"problems": [], "code": {}}
    if request["do"] == "schema":
        with _code_importable(config, request):
            from lighter.editor.schema import make_schema

            return {"schema": make_schema(config, [Path(request["file"])]).schema, "code": _code()}
    return {**_second_tier(config, problems, request), "code": _code()}


def _second_tier(config: Config, problems: list[Problem], request: Request) -> dict[str, Any]:
    from lighter.editor.server.layers import is_layer, sayable
    from lighter.engine.check.second_tier import second_tier
    from lighter.errors import ConfigError

    try:
        with _code_importable(config, request):
            every = sayable(second_tier(config, None, is_layer=is_layer(config.merged)), config.merged)
    except ConfigError as error:
        every = list(error.problems)
    return {"problems": [as_data(problem) for problem in every if problem not in problems]}


def _code_importable(config: Config, request: Request) -> contextlib.AbstractContextManager[object]:
    from lighter.engine.project import importable

    return importable(config, Path.cwd()) if request["trusted"] or config.safe is not None else contextlib.nullcontext()


def _code() -> dict[str, int]:
    """Return the files of user code that are imported, with their times."""
    from lighter.editor.server.gate import is_of_user

    later = [module for name, module in [*sys.modules.items()] if name not in _LIBRARIES]
    files = {getattr(module, "__file__", None) for module in later}
    times = {}
    for file in sorted(file for file in files if isinstance(file, str) and is_of_user(file)):
        with contextlib.suppress(OSError):
            times[file] = os.stat(file).st_mtime_ns
    return times


def as_data(problem: Problem) -> Mapping[str, Any]:
    """Return a problem with the file that it is in, as an absolute path; null where it is in none."""
    origin = problem.origin
    in_file = origin is not None and origin.source.is_file
    return {
        "message": problem.message,
        "hint": problem.hint,
        "severity": problem.severity,
        "path": problem.path,
        "file": os.path.abspath(origin.source.name) if origin is not None and in_file else None,
        "line": origin.line if origin is not None and in_file else 1,
        "column": origin.column if origin is not None and in_file else 1,
    }
