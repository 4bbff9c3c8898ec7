"""What one process has written of a file: the rows so far, and beside them which batches they are."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from lighter.callbacks.writers.progress import Batch, Place, batch_of, encoded, lines
from lighter.errors import PredictionError


class Part:
    """The rows that a process adds to, batch by batch. Each batch has left the process when `note` returns.

    Attributes:
        rows: the file of the rows; None for writers that keep their own.
        progress: the file of the notes; see `progress.py`.
        header: what the rows' file begins with; None before there is any row.
        next: the first batch that is not complete.
        ended: whether nothing more will come.
        samples: the number of samples in complete batches.
        unfinished: what was noted of the batch after them before it was complete.
    """

    def __init__(self, rows: Path | None, progress: Path) -> None:
        self.rows, self.progress = rows, progress
        self.header: bytes | None = None
        self.next: Place = (0, 0)
        self.ended = False
        self.samples = 0
        self.unfinished: Any = None
        self._about: dict[str, Any] | None = None
        self._end = 0
        self._notes_end = 0
        self._files: list[IO[bytes]] = []

    @property
    def is_open(self) -> bool:
        """Whether rows can be added."""
        return bool(self._files)

    def load(self) -> None:
        """Take over what a process has left, up to its last complete batch."""
        size = self.rows.stat().st_size if self.rows is not None and self.rows.exists() else 0
        header = None
        for position, line in lines(self.progress):
            batch = batch_of(line)
            if max(line.get("header", 0), batch.end if batch else 0) > size:
                break  # noted, but lost: the machine stopped before the rows were on the disk
            self._notes_end = position
            self._about = line.get("about", self._about)
            if "header" in line:
                self._end = header = line["header"]
            if batch is not None:
                self._end, self.next, self.samples = batch.end, _after(batch.place), self.samples + batch.size
            self.ended = self.ended or "ended" in line
            self.unfinished = line.get("unfinished")
        if header is not None and self.rows is not None:
            with open(self.rows, "rb") as file:
                self.header = file.read(header)

    def create(self, about: dict[str, Any]) -> None:
        """Begin.

        Raises:
            PredictionError: one of the files is there: of a prediction that was stopped, or of one that runs.
        """
        for path in (self.progress, self.rows):
            if path is not None and path.exists():
                raise PredictionError(
                    f"{path} is there: part of a prediction that was stopped, or that still runs. Go on with it"
                    " (lighter predict --resume RUN), or move it away"
                )
        self._open("xb")
        self._note({"about": about})

    def go_on(self, about: dict[str, Any]) -> None:
        """Continue what was loaded; what comes after the last complete batch is cut off.

        Raises:
            PredictionError: what wrote the part differs from `about`, or a process still writes it.
        """
        found = self._about if self._about is not None else about
        different = [
            f"{key}: it was {found.get(key)}, and is {value}" for key, value in about.items() if found.get(key) != value
        ]
        if different:
            raise PredictionError(
                f"{self.progress} is of a prediction that this one cannot go on with:\n  " + "\n  ".join(different)
            )
        self._open("ab")
        os.truncate(self.progress, self._notes_end)
        if self.rows is not None:
            os.truncate(self.rows, self._end)
        if self._about is None:
            self._note({"about": about})

    def begin(self, header: bytes) -> None:
        """Write what stands before the first row."""
        self.header = header
        self.append(header)
        self._flush()
        self._note({"header": len(header)})

    def append(self, data: bytes) -> None:
        """Add rows."""
        self._files[1].write(data)
        self._end += len(data)

    def note(self, place: Place, size: int, samples: Sequence[int] | None) -> None:
        """Note that a batch is complete."""
        self._flush()
        self._note(Batch(place, self._end, size, samples).line())
        self.next, self.samples, self.unfinished = _after(place), self.samples + size, None

    def note_unfinished(self, what: Any) -> None:
        """Note something of the batch that is about to be written."""
        self._note({"unfinished": what})

    def noted(self) -> Iterator[Any]:
        """What was noted of each batch before it was complete."""
        return (line["unfinished"] for _, line in lines(self.progress) if "unfinished" in line)

    def end(self) -> None:
        """Note that nothing more will come, and see everything on the disk."""
        if not self.ended:
            for file in reversed(self._files):
                file.flush()
                os.fsync(file.fileno())
            self._note({"ended": True})
            self.ended = True
        self.close()

    def note_whole(self, path: Path) -> None:
        """Note which file is about to get its name."""
        with open(self.progress, "ab") as file:
            file.write(encoded({"whole": _identity(path)}))
            file.flush()
            os.fsync(file.fileno())

    def is_whole(self, path: Path) -> bool:
        """Whether a file with that name is the one that was noted, and not somebody else's."""
        noted = [line["whole"] for _, line in lines(self.progress) if "whole" in line] if self.progress.exists() else []
        return _identity(path) in noted

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            with suppress(OSError):  # a full disk: what it could not take is not noted either
                file.close()
        self._files = []

    def remove(self) -> None:
        """Take the files away."""
        if self.rows is not None:
            self.rows.unlink(missing_ok=True)
        self.progress.unlink(missing_ok=True)

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """The complete batches from a byte of the notes on, each with the byte at which its note ends."""
        for position, line in lines(self.progress, start):
            batch = batch_of(line)
            if batch is not None:
                yield position, batch

    def _open(self, mode: str) -> None:
        self._files = [open(self.progress, mode)]  # noqa: SIM115 - open while the prediction runs
        _lock(self._files[0], self.progress)
        if self.rows is not None:
            self._files.append(open(self.rows, mode))  # noqa: SIM115

    def _flush(self) -> None:
        for file in self._files[1:]:
            file.flush()

    def _note(self, line: dict[str, Any]) -> None:
        self._files[0].write(encoded(line))
        self._files[0].flush()


def _after(place: Place) -> Place:
    return place[0], place[1] + 1


def _identity(path: Path) -> list[int]:
    found = os.stat(path)
    return [found.st_dev, found.st_ino]


def _lock(file: IO[bytes], path: Path) -> None:
    """See that no other process writes this part. The lock ends with the process, also when it is killed.

    It is of the kind that children do not inherit, since dataloader workers outlive a killed parent for seconds.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two processes that go on with one prediction are not kept apart there
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            file.close()
            raise PredictionError(f"another process writes {path} now; wait for it, or stop it") from error
