"""The interface of executors: start a member, learn how it ended, stop all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from lighter.files.run_folder import MEMBER

BUSY = 75  # the exit code of a worker whose member another process runs
NO_DISK = 74  # that of a worker which cannot write to the disk
ERROR = "error.txt"
MEMBER_LOCK = ".member.lock"
WORKER_LOG = "worker.log"
OF_COORDINATOR = (MEMBER, MEMBER_LOCK, WORKER_LOG)
"""Files of a member's folder that are not of its fit."""


@dataclass(frozen=True)
class Task:
    """One start of a member, as plain data, so that it can be sent to any process.

    Attributes:
        folder: the member's folder, absolute.
        inputs: of `Runner.execute("fit", ...)`: the experiment's config and the member's overrides.
        pause: the counter and the value of it at which the fit pauses, `("trainer::max_epochs", 3)`; None to train to
            its end.
        cwd: the working directory of the experiment.
        environment: variables of the process, `{"OMP_NUM_THREADS": "1"}`.
    """

    folder: str
    inputs: tuple[str, ...]
    pause: tuple[str, float] | None
    cwd: str
    environment: dict[str, str]

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Ended:
    """A task that is over: what came of the member is in its folder.

    `reason` says how its process ended if that left nothing in the folder: `killed by SIGKILL`, `SLURM: OUT_OF_MEMORY`.
    `code` is the exit code of `run_member`; None if that is not known.
    """

    folder: Path
    reason: str
    code: int | None = None

    @property
    def is_busy(self) -> bool:
        """Return whether another process had the member."""
        return self.code == BUSY

    @property
    def has_no_disk(self) -> bool:
        """Return whether the member could not write."""
        return self.code == NO_DISK


class Executor(Protocol):
    """Where members run. Used as a context manager: what it has started is over when that ends."""

    def adopt(self) -> Sequence[Path]:
        """Return the folders of members that an earlier coordinator has left running; they end in `ended` too."""

    def free(self) -> int:
        """Return how many members can start now."""

    def start(self, task: Task) -> None:
        """Start a member; return at once."""

    def ended(self, timeout: float) -> Sequence[Ended]:
        """Wait up to `timeout` seconds for tasks that end, and return those that did."""

    def stop(self) -> None:
        """Ask all members to save and stop, and wait until they have."""

    def __enter__(self) -> Executor: ...

    def __exit__(self, *exception: object) -> None: ...
