"""The part of a file that one process has written: the rows so far, and beside them which batches they are."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from lighter.callbacks.writers.progress import Batch, BatchKey, after, batch_of, encoded, lines, verified
from lighter.errors import PredictionError
from lighter.files.integrity import crc_of_next
from lighter.files.lock import acquire, release


class Part:
    """The rows that a process adds, batch by batch. Each batch has left the process when `note` returns."""

    def __init__(self, rows: Path | None, progress: Path) -> None:
        self.rows = rows  # the file of the rows; None for writers that keep their own
        self.progress = progress  # the file of the notes; see `progress.py`
        self.header: bytes | None = None  # the beginning of the rows' file; None before there is any row
        self.next: BatchKey = (0, 0)  # the first batch that is not complete
        self.ended = False
        self.samples = 0  # in complete batches
        self.unfinished: Any = None  # the note about the batch after them, made before it was complete
        self.lost: list[Any] = []  # the readable notes about batches after them, made before those were complete
        self.is_cut = False  # whether anything follows them
        self.damaged: Path | None = None  # the file that differs from its notes after them, not by being cut short
        self._about: dict[str, Any] | None = None
        self._end = 0  # of the rows, in bytes
        self._crc = 0  # of the rows since the last note
        self._notes_end = 0
        self._check = 0  # of all notes so far
        self._files: list[IO[bytes]] = []

    @property
    def is_open(self) -> bool:
        return bool(self._files)

    def take(self) -> bool:
        """Lock what a process has left, unless another one writes it; return false if there is nothing."""
        try:
            acquire(self.progress, create=False)
        except FileNotFoundError:
            return False
        except BlockingIOError as error:
            raise PredictionError(f"another process writes {self.progress} now; wait for it, or stop it") from error
        return True

    def load(self, damaged_in: Callable[[Mapping[str, Any]], Path | None] | None = None) -> None:
        """Load what a process has left, up to its last complete batch.

        With `damaged_in`, which returns the first file of a batch beside its rows that differs from its note, the rows
        are checked too, and nothing is loaded from the first damaged batch on.
        """
        rows = self.rows if self.rows is not None and self.rows.exists() else Path(os.devnull)
        size, end, header = rows.stat().st_size, 0, 0
        with open(rows, "rb") as file:
            for position, check, line in verified(self.progress):
                batch = batch_of(line)
                end = line.get("header", batch.end if batch else self._end)
                if end > size:
                    break  # noted, but lost: the machine stopped before the rows were on the disk
                if damaged_in is not None:
                    crc = crc_of_next(file, end - self._end)
                    is_intact = crc is not None and line.get("crc", crc) == crc  # earlier versions noted none
                    self.damaged = damaged_in(line) if is_intact else rows
                if self.damaged is not None:
                    break
                self._notes_end, self._check, self._end = position, check, end
                header = line.get("header", header)
                self._take_over(line, batch)
            file.seek(0)
            self.header = file.read(header) or None
        rest = after(self.progress, self._notes_end)
        # files of batches that are predicted again may be on the disk, so these notes are still needed
        self.lost += [line["unfinished"] for line in rest if line is not None and "unfinished" in line]
        self.is_cut = bool(self.lost) or self.progress.stat().st_size > self._notes_end
        # a kill tears the last note at most; whole notes after a bad one mean that bytes were altered
        if self.damaged is None and end <= size and any(rest[1:]):
            self.damaged = self.progress

    def _take_over(self, line: Mapping[str, Any], batch: Batch | None) -> None:
        self._about = line.get("about", self._about)
        self.ended = self.ended or "ended" in line
        self.lost += line.get("lost", [])
        self.unfinished = line.get("unfinished", self.unfinished)
        if batch is not None:
            self._complete(batch.key, batch.size)

    def _complete(self, key: BatchKey, size: int) -> None:
        self.next, self.samples, self.unfinished = (key[0], key[1] + 1), self.samples + size, None

    def create(self, about: dict[str, Any]) -> None:
        """Create the files, none of which may exist."""
        existing = next((path for path in (self.progress, self.rows) if path is not None and path.exists()), None)
        try:
            if existing is None:
                self._open("xb")  # exclusively, so that of two processes that come to this only one gets the part
        except FileExistsError as error:
            existing = Path(error.filename)
        if existing is not None:
            raise PredictionError(
                f"{existing} is there: part of a prediction that was stopped, or that still runs. Resume it"
                " (lighter predict --resume RUN), or move it away"
            )
        self._note({"about": about})

    def resume(self, about: dict[str, Any]) -> None:
        """Continue what was loaded, unless what wrote it differs from `about`."""
        # killed before it had noted anything, a part is anybody's
        before = self._about if self._about is not None else about
        different = [
            f"{key}: it was {before.get(key)}, and is {value}"
            for key, value in about.items()
            if not _is_same(before.get(key), value)
        ]
        if different:
            raise PredictionError(
                f"{self.progress} is of a prediction that this one cannot continue:\n  " + "\n  ".join(different)
            )
        self._open("ab")
        # after opening and locking; until then another process may still write
        os.truncate(self.progress, self._notes_end)
        if self.rows is not None:
            os.truncate(self.rows, self._end)
        if self._about is None:
            self._note({"about": about})
        if self.lost:
            self._note({"lost": self.lost})

    def begin(self, header: bytes) -> None:
        self.header = header
        self.append(header)
        self._flush()
        self._note({"header": len(header), "crc": self._crc})

    def append(self, data: bytes) -> None:
        self._files[1].write(data)
        self._end += len(data)
        self._crc = zlib.crc32(data, self._crc)

    def note(self, key: BatchKey, size: int, samples: Sequence[int] | None, more: Mapping[str, Any]) -> None:
        """Note that a batch is complete, and `more` about it."""
        # the rows first: a note promises that its rows have left the process
        self._flush()
        crc = {"crc": self._crc} if self.rows is not None else {}
        self._note({**Batch(key, self._end, size, samples).line(), **crc, **more})
        self._complete(key, size)

    def note_unfinished(self, note: object) -> None:
        """Note something about the batch that is about to be written."""
        self._note({"unfinished": note})

    def noted(self) -> Iterator[Any]:
        """Yield the notes about batches that were made before they were complete."""
        return (line["unfinished"] for _, line in lines(self.progress) if "unfinished" in line)

    def end(self) -> None:
        """Note that the part is complete, and sync everything to the disk."""
        if not self.ended:
            # the rows before the notes, which promise that the rows are there
            for file in reversed(self._files):
                file.flush()
                os.fsync(file.fileno())
            self._note({"ended": True})
            self.ended = True
        self._close_files()

    def note_whole(self, path: Path) -> None:
        """Note which file is about to get the final name."""
        # the part has ended, and its files are closed
        with open(self.progress, "ab") as file:
            text, self._check = encoded({"whole": _identity(path)}, self._check)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def is_whole(self, path: Path) -> bool:
        noted = [line["whole"] for _, line in lines(self.progress) if "whole" in line] if self.progress.exists() else []
        return _identity(path) in noted

    def close(self) -> None:
        self._close_files()
        release(self.progress)

    def _close_files(self) -> None:
        for file in self._files:
            with suppress(OSError):  # a full disk: what it could not take is not noted either
                file.close()
        self._files = []

    def remove(self) -> None:
        # the notes last: without them, rows would be of nobody
        if self.rows is not None:
            self.rows.unlink(missing_ok=True)
        self.progress.unlink(missing_ok=True)

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """Yield the complete batches from a byte of the notes on, each with the byte at which its note ends."""
        for position, line in lines(self.progress, start):
            batch = batch_of(line)
            if batch is not None:
                yield position, batch

    def _open(self, mode: str) -> None:
        self._files = [open(self.progress, mode)]  # noqa: SIM115 - open while the prediction runs
        if mode == "xb":  # to resume, it is locked already
            self.take()
        if self.rows is not None:
            self._files.append(open(self.rows, mode))  # noqa: SIM115

    def _flush(self) -> None:
        for file in self._files[1:]:
            file.flush()

    def _note(self, line: dict[str, Any]) -> None:
        text, self._check = encoded(line, self._check)
        self._crc = 0
        self._files[0].write(text)
        self._files[0].flush()


def _identity(path: Path) -> list[int]:
    status = os.stat(path)
    return [status.st_dev, status.st_ino]


def _is_same(then: object, now: object) -> bool:
    if isinstance(then, dict) and isinstance(now, dict):
        # a file may have been moved, and earlier versions identified files by other facts
        return all(then[key] == now[key] for key in (then.keys() & now.keys()) - {"path"})
    return bool(then == now)
