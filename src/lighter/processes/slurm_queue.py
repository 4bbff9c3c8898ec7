"""SLURM's commands: what our jobs do, and how they are stopped. One call is for all jobs, to spare the controller."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("lighter.experiments")

PENDING, RUNNING, COMPLETED = "PENDING", "RUNNING", "COMPLETED"
OVER = {
    "BOOT_FAIL",
    "CANCELLED",
    COMPLETED,
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
"""States that nothing follows. A requeued job is pending."""
# Reasons to wait that are no mistake.
USUAL = ("None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "Prolog", "Cleaning", "RaisedSignal")
_TIMEOUT, _TIMEOUT_OF_STATUS = 60.0, 10.0  # seconds
_FRESH = 2.0  # seconds that an answer serves for the statuses of many runs
_AT_ONCE = 500  # job ids in one command
_OUT_OF_MEMORY = re.compile(r"slurmstepd.*(exceeded \w* ?memory limit|oom[-_ ]kill)", re.IGNORECASE)
_LAST_BYTES = 1 << 16  # of a job's log: SLURM writes at its end why it killed the job


@dataclass(frozen=True)
class Job:
    """A job as `squeue` shows it.

    Attributes:
        id: `12`, or `12_3` in an array.
        status: of its process, as `os.wait` has it.
        reason: why it waits.
    """

    id: str
    state: str
    status: str
    reason: str
    name: str

    @property
    def index(self) -> int:
        """Its place in its array; 0 of a job alone."""
        _, _, index = self.id.partition("_")
        return int(index or 0)

    @property
    def code(self) -> int:
        """The exit code of its process: 128 + n if signal n ended it."""
        status = int(self.status) if self.status.isdecimal() else 0
        return status >> 8 or (128 + status if status else 0)

    @property
    def waits_for(self) -> str:
        """Why it waits, as SLURM says: `Priority`; nothing if it does not say."""
        return self.reason if self.reason != "None" else ""

    @property
    def ending(self) -> str:
        """The end of the job: `exit code 1`, `ended by SIGKILL`, `SLURM: TIMEOUT`."""
        if self.state not in (COMPLETED, "FAILED"):
            return f"SLURM: {self.state}"
        known = {128 + each.value: f"ended by {each.name}" for each in signal.Signals}
        return known.get(self.code, f"exit code {self.code}")


def ending_of(job: Job | None, log: Path | None) -> str:
    """Return how a job ended, by the queue and by what it printed; None for a job that SLURM has forgotten."""
    # where SLURM itself watches the memory, and not the kernel, the state does not say it
    if log is not None and _OUT_OF_MEMORY.search(_end_of(log)):
        return "SLURM: OUT_OF_MEMORY"
    return job.ending if job is not None else "SLURM does not know its job any more"


def _end_of(log: Path) -> str:
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(os.fstat(file.fileno()).st_size - _LAST_BYTES, 0))
        return file.read().decode(errors="replace")
    return ""


def jobs(timeout: float = _TIMEOUT) -> dict[str, Job] | None:
    """Return this user's jobs by id, with those that ended a while ago; None if the controller does not answer.

    SLURM forgets a job some minutes after its end (`MinJobAge`).
    """
    # not `--jobs`: it fails as a whole if SLURM has forgotten one of them
    columns = ",".join(f"{name}:|" for name in ("JobArrayID", "State", "exit_code", "Reason", "Name"))
    command = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--Format={columns}"]
    printed = _run(command, timeout)
    if printed is None:
        return None
    lines = (line.rstrip("|").split("|", 4) for line in printed.splitlines() if line.count("|") >= 5)
    return {job.id: job for job in (Job(*fields) for fields in lines)}


_asked: tuple[float, dict[str, Job] | None] = (-_FRESH, None)


def find(name: str, user: int | None) -> tuple[Job | None, bool]:
    """Return a user's job by its name, and whether the answer is certain. One question serves for some seconds."""
    global _asked
    if user != os.getuid() or shutil.which("squeue") is None:
        return None, False
    if time.monotonic() - _asked[0] > _FRESH:
        _asked = (time.monotonic(), jobs(_TIMEOUT_OF_STATUS))
    known = _asked[1]
    return next((job for job in (known or {}).values() if job.name == name), None), known is not None


def cancel(ids: Iterable[str], *options: str) -> None:
    """Cancel jobs, or with `--signal=TERM` only send it to their processes; those that have ended are left out."""
    listed = list(ids)
    for start in range(0, len(listed), _AT_ONCE):
        _run(["scancel", "--quiet", *options, *listed[start : start + _AT_ONCE]])


def _run(command: Sequence[str], timeout: float = _TIMEOUT) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("%s: %s", command[0], error)
        return None
    if done.returncode:
        log.warning("%s: %s", command[0], done.stderr.strip() or f"exit code {done.returncode}")
        return None
    return done.stdout
