"""The server's side of the worker: start it, ask it one thing at a time, notice that it ended or holds old code."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

PATIENCE = 120.0
"""Seconds that an answer may take before its worker is replaced: an import that hangs must not end the checks."""
_MOST_BYTES = 1 << 26  # of a line
# Python looks for modules in the working directory first, so nothing but `sys` is imported before the path is set.
_START = (
    "import sys; clean, full = (text.split(chr(10)) for text in sys.argv[1:]); sys.path[:] = clean; "
    "from lighter.editor.server.worker import main; main(full)"
)


class WorkerLostError(Exception):
    """The worker ended before it answered, or had to be replaced; `status` is its exit code, or 0."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class WorkerLink:
    """A worker and the requests to it.

    Args:
        clean: the `sys.path` without the workspace.
        full: the `sys.path` as `lighter check` would have it.
    """

    def __init__(self, clean: Sequence[str], full: Sequence[str]) -> None:
        self._paths = ["\n".join(clean), "\n".join(full)]
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._asked = 0
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self.version = 0
        self.code: dict[str, int] = {}
        self._imported: set[str] = set()

    async def start(self) -> None:
        """Start the host, which imports torch meanwhile."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _START,
            *self._paths,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_MOST_BYTES,
        )
        self._reader = asyncio.create_task(self._read(self._process))

    async def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a request; raise a `WorkerLostError` if there is none."""
        async with self._one_at_a_time:
            if self._process is None or self._process.returncode is not None:
                await self.start()
            self._asked += 1
            self._answer = asyncio.get_running_loop().create_future()
            generation = f"{request['root']} {request['trusted']} {self.version}"
            line = json.dumps({**request, "id": self._asked, "generation": generation})
            try:
                self._stdin.write(line.encode() + b"\n")
                await self._stdin.drain()
                answer = await asyncio.wait_for(self._answer, PATIENCE)
            except asyncio.TimeoutError:
                self.renew()
                raise WorkerLostError(f"an import takes more than {PATIENCE:.0f} s") from None
            except ConnectionError:
                raise WorkerLostError("the worker ended") from None
            finally:
                self._answer = None
            if "failed" in answer:
                raise WorkerLostError(answer["failed"])
            # a file that has changed since it was imported has a later time in later answers
            self.code = {**answer.pop("code", {}), **self.code}
            self._imported.update(self.code)
            return answer

    def renew(self) -> None:
        """Forget the user code that was imported: the next request goes to a new child."""
        self.version += 1
        self.code = {}
        self._lose(WorkerLostError("user code changed"))

    def has_old_code(self) -> bool:
        """Return whether a file of the imported user code changed since."""
        return any(_time(file) != time for file, time in self.code.items())

    def watch(self, files: Iterable[str]) -> None:
        """Look at some files, and all that were imported before, as a worker that was lost did not say what it did."""
        times = {file: time for file in {*files, *self._imported} if (time := _time(file)) is not None}
        self.code = {**times, **self.code}

    async def close(self) -> None:
        """End the worker: it stops when its input ends."""
        if self._process is not None and self._process.returncode is None:
            self._stdin.close()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), 2)
                return
            self._process.kill()

    @property
    def _stdin(self) -> asyncio.StreamWriter:
        stream = self._process.stdin if self._process is not None else None
        assert stream is not None  # by `start`
        return stream

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # by `start`
        async for line in process.stdout:
            with suppress(ValueError):  # a child that was ended in the middle of a line
                message = json.loads(line)
                if "ended" in message:
                    self._lose(WorkerLostError("the process that imports targets ended", message["ended"]))
                elif message["id"] == self._asked and self._answer is not None and not self._answer.done():
                    self._answer.set_result(message)
        self._lose(WorkerLostError("the worker ended"))

    def _lose(self, error: WorkerLostError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _time(file: str) -> int | None:
    with suppress(OSError):
        return os.stat(file).st_mtime_ns
    return None
