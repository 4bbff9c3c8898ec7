"""Trainings in the background, one at a time. Each has a folder `ROOT/.lighter-mcp/0001/`, which outlives the server.

job.json    its command, its supervisor's process, what it may take: runs and seconds
child.json  the process of the command, which may outlive the supervisor
stdout      the JSON of the command, at its end
stderr      its messages
end.json    its exit code and seconds, once it has ended
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lighter.agents.commands import Answer, answer
from lighter.errors import RunError
from lighter.files.atomic import write_whole
from lighter.files.run_folder import RECORD
from lighter.processes.identity import is_gone, mark_of, this_process

HOME = ".lighter-mcp"
JOB, CHILD, END, STDOUT, STDERR = "job.json", "child.json", "end.json", "stdout", "stderr"
FIT, TRY = "fit", "try"
RUNNING, ENDED, LOST = "running", "ended", "lost"
_USAGE = 2  # the exit code of what has not begun, if it gave errors alone
_ERRORS = "lighter.errors/1"
_IN = "fit, in "  # then comes the folder: a message at the begin of a fit
_MOST_BEFORE = 2**20  # bytes of messages that are searched for that


@dataclass(frozen=True)
class Job:
    """A training of an agent's.

    Attributes:
        runs: how many fits it may take at most.
        allowed: after so many seconds it is stopped.
    """

    folder: Path
    kind: str
    words: tuple[str, ...]
    runs: int
    allowed: float
    began: float
    process: dict[str, Any]

    @property
    def number(self) -> int:
        return int(self.folder.name)

    @property
    def end(self) -> dict[str, Any] | None:
        return _facts(self.folder / END)

    @property
    def run_folder(self) -> Path | None:
        """The folder of a fit, relative to the root, as its messages say it; None of what did not begin."""
        with suppress(OSError), (self.folder / STDERR).open("rb") as messages:
            for line in messages.readlines(_MOST_BEFORE):
                _, found, folder = line.decode(errors="replace").partition(_IN)
                path = self.folder.parents[1] / folder.strip()
                if found and (path / RECORD).is_file():
                    return path
        return None

    @property
    def status(self) -> str:
        if self.end is not None:
            return ENDED
        if self._running():
            return RUNNING
        # it may have ended since the file was looked for
        return LOST if self.end is None else ENDED

    def _running(self) -> list[int]:
        """Return the processes that run: the supervisor, or the command if that was killed."""
        marks = [self.process, _facts(self.folder / CHILD)]
        return [
            mark["pid"] for mark in marks if mark and not is_gone(mark["host"], mark["pid"], mark["process_started"])
        ][:1]

    @property
    def seconds(self) -> float:
        """Seconds that it counts for: those that it has run, or all that it may take if nobody knows when it ended."""
        end = self.end
        if end is not None:
            return float(end["seconds"])
        if self.status != LOST:
            return max(time.time() - self.began, 0.0)
        last = max((self.folder / name).stat().st_mtime for name in (JOB, STDOUT, STDERR))
        # a command prints its JSON at its end; one that was killed may have trained long after its last message
        has_ended = self.answer().result is not None
        return max(last - self.began, 0.0 if has_ended else self.allowed)

    @property
    def fits(self) -> int:
        """The number of fits that it counts for: all that it may take, until it says how many it took."""
        if self.end is None:
            return self.runs
        said = self.answer()
        result = said.result if isinstance(said.result, dict) else {}
        if self.kind == TRY and isinstance(result.get("cost"), dict):
            cost = result["cost"]
            return int(cost["candidate_fits"]) + int(cost["baseline_fits"])
        # code of the user's may end a fit that trained with this code
        has_begun = said.code != _USAGE or result.get("schema") != _ERRORS or self.run_folder is not None
        return self.runs if has_begun else 0

    def answer(self) -> Answer:
        """Return what its command has said so far."""
        stdout, stderr = (_content(self.folder / name) for name in (STDOUT, STDERR))
        return answer(int((self.end or {}).get("code", 0)), stdout, stderr)

    def stop(self) -> None:
        """Ask it to save and stop."""
        for process in self._running():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM)


def jobs_in(root: Path) -> list[Job]:
    """Return all jobs of a root folder, by their numbers."""
    folders = sorted(path for path in (root / HOME).glob("[0-9]*") if (path / JOB).is_file())
    return [_read(folder) for folder in folders]


def start(root: Path, kind: str, command: Sequence[str], *, runs: int, seconds: float) -> Job:
    """Start a command in a session of its own, with a supervisor that ends it after so many seconds."""
    home = root / HOME
    home.mkdir(exist_ok=True)
    numbers = [int(path.name) for path in home.glob("[0-9]*") if path.name.isdigit()]
    folder = home / f"{max(numbers, default=0) + 1:04}"
    folder.mkdir()
    facts = {"kind": kind, "words": [*command], "runs": runs, "allowed": seconds, "began": time.time()}
    with open(folder / STDOUT, "wb") as stdout, open(folder / STDERR, "wb") as stderr:
        # what it counts is on the disk before it begins
        write_whole(folder / JOB, json.dumps({**facts, "process": this_process()}))
        with _sigterm_blocked():
            process = subprocess.Popen(
                [sys.executable, "-m", "lighter.agents.supervisor", str(folder)],
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
    write_whole(folder / JOB, json.dumps({**facts, "process": mark_of(process.pid)}))
    _children.append(process)
    return _read(folder)


@contextmanager
def _sigterm_blocked() -> Iterator[None]:
    """Block SIGTERM, also in the supervisor that starts meanwhile, until that can tell its command to stop."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def find(root: Path, number: int | None) -> Job:
    """Return a job, by default the newest; raise `RunError` if there is none."""
    jobs = jobs_in(root)
    found = [job for job in jobs if number is None or job.number == number]
    if not found:
        raise RunError(f"there is no job {number}; there are {len(jobs)}" if jobs else "no training was started here")
    return found[-1]


_children: list[subprocess.Popen[bytes]] = []  # which are zombies until they are asked for


def reap() -> None:
    """Ask for children that have ended, so that they are gone."""
    for child in _children:
        child.poll()


def _read(folder: Path) -> Job:
    facts = json.loads((folder / JOB).read_bytes())
    of = facts["kind"], tuple(facts["words"]), facts["runs"], facts["allowed"], facts["began"], facts["process"]
    return Job(folder, *of)


def _facts(path: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        return dict(json.loads(path.read_bytes()))
    return None


def _content(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""
