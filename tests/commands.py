"""Commands in processes of their own that cost no imports: forked by a process that has imported all (`warm.py`).

The process is started by the first command, with one thread, and ends with the one that started it. What a test says of
the start itself (its imports, `python -m lighter`, variables that Python reads when it starts) needs `subprocess`.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import IO

from tests.warm import NUMBER

ROOT = Path(__file__).parents[1]
TESTS = {"PYTHONPATH": str(ROOT)}  # for commands whose config names something of `tests`
LIGHTER = str(Path(sys.executable).with_name("lighter"))
READ_AT_START = ("PYTHONWARNINGS", "PYTHONHASHSEED", "PYTHONOPTIMIZE", "PYTHONSAFEPATH", "LIGHTER_SAFE_FOLDERS")


class Process:
    """A running command, with the interface of `subprocess.Popen`; it leads a session and a process group."""

    def __init__(
        self,
        *words: str | Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        output: Path | None = None,
    ) -> None:
        """Start `lighter ...`, `-m MODULE ...` or `SCRIPT ...`.

        Args:
            environment: added to that of this process.
            output: the file that both streams are appended to; otherwise `communicate` returns them.
        """
        self.args = [LIGHTER if words[0] == "lighter" else str(words[0]), *map(str, words[1:])]
        self.returncode: int | None = None
        variables = {"OMP_NUM_THREADS": "1", **os.environ, **(environment or {})}
        changed = [name for name in READ_AT_START if variables.get(name) != _ENVIRONMENT.get(name)]
        assert not changed, f"{changed}: read when a process starts or imports lighter; use subprocess"
        request = {"words": self.args, "cwd": str(cwd or Path.cwd()), "environment": variables}
        self._printed: list[str] = []
        self._streams: list[IO[bytes]] = []
        if not output:
            self._streams = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115 - closed by `wait`
        self._answers, theirs = socket.socketpair()
        weakref.finalize(self, self._answers.close)  # of a process that nobody waits for
        with theirs, open(os.devnull, "rb") as nothing, open(output or os.devnull, "ab") as together:
            streams = [nothing, *(self._streams or [together] * 2), theirs]
            _send(request, [stream.fileno() for stream in streams])
        self.pid = self._answer(300)  # the first waits for the imports too

    def _answer(self, seconds: float | None) -> int:
        self._answers.settimeout(seconds)
        try:
            content = self._answers.recv(NUMBER.size)
        except TimeoutError:
            raise subprocess.TimeoutExpired(self.args, seconds or 0) from None
        assert content, "the warm process ended"
        return int(NUMBER.unpack(content)[0])

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._answers], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(self._answer(timeout))
            self._answers.close()
            for stream in self._streams:
                with stream:
                    stream.seek(0)
                    self._printed.append(stream.read().decode(errors="replace"))
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end; returns both streams."""
        self.wait(timeout)
        output, errors = self._printed
        return output, errors

    def wait_until(self, holds: Callable[[], object], seconds: float = 300) -> None:
        """Wait until something holds, which it must before the command ends."""
        late = time.monotonic() + seconds
        while True:
            has_ended = self.poll() is not None
            if holds():
                return
            if has_ended or time.monotonic() > late:
                self.kill_group()
                self.wait()
                printed = "\n".join(self._printed)
                raise AssertionError(f"{'ended' if has_ended else 'late'}, code {self.returncode}: {printed}")
            time.sleep(0.005)

    def send_signal(self, signum: int, *, to_group: bool = False) -> None:
        if self.poll() is None:
            (os.killpg if to_group else os.kill)(self.pid, signum)

    def kill_group(self) -> None:
        self.send_signal(signal.SIGKILL, to_group=True)


def run_command(
    *words: str | Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as `subprocess.run` does; see `Process` for the arguments."""
    process = Process(*words, cwd=cwd, environment=environment)
    try:
        output, errors = process.communicate(timeout)
    except subprocess.TimeoutExpired as late:
        process.kill_group()
        raise AssertionError(f"{late}: {process.communicate()}") from None
    return subprocess.CompletedProcess(process.args, process.wait(), output, errors)


def git(*words: str) -> None:
    subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e@x", *words], check=True, capture_output=True)


_ENVIRONMENT = dict(os.environ)  # before a test changes it


def _send(request: object, descriptors: list[int]) -> None:
    content, requests = json.dumps(request).encode(), _requests(os.getpid())
    socket.send_fds(requests, [NUMBER.pack(len(content))], descriptors)
    requests.sendall(content)


@cache
def _requests(pid: int) -> socket.socket:
    """Start the warm process of a process, and not that of one that it was forked from; returns what it reads."""
    ours, theirs = socket.socketpair()
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment = {name: value for name, value in _ENVIRONMENT.items() if name != "PYTHONPATH"} | one_thread
    script = Path(__file__).with_name("warm.py")
    with theirs:
        server = subprocess.Popen(
            [sys.executable, script], stdin=theirs, env=environment, cwd=ROOT, start_new_session=True
        )

    @atexit.register
    def stop() -> None:
        ours.close()
        server.wait()

    return ours
