"""A writer's notes of its progress: a JSON line when it begins, one for each batch, and one at the end.

    {"about": {"writer": "CsvWriter", "columns": ["id", "pred"], "processes": 1, ...}}
    {"header": 10, "crc": 12}                                       the rows' file begins with 10 bytes of header
    {"batch": [0, 0], "end": 523, "crc": 34, "range": [0, 32, 1]}   dataloader 0, batch 0: samples 0 to 31, to byte 523
    {"batch": [0, 1], "end": 717, "crc": 56, "samples": [40, 32]}   samples in no regular order
    {"batch": [0, 2], "end": 990, "crc": 78, "count": 32}           samples of a dataset without indices
    {"unfinished": {"files": ["0.pt", "1.pt"], ...}}                the files that the next batch is about to write
    {"lost": [...]}                                                 such notes of batches that are predicted again
    {"ended": true}
    {"whole": [64768, 1234]}                                        the file that gets its name now: device and inode

A line is written after the fact that it notes. So whenever a process is killed, every whole line is true, and anything
after the last one, in either file, is a batch that is not complete.

`crc` is the CRC-32 of the rows since the line before. Each line ends with `"check"`, the CRC-32 of its text and of all
lines before it, so that a line that was altered, lost or moved shows. Earlier versions wrote neither.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_CHECK = b', "check": '

BatchKey = tuple[int, int]  # a dataloader and a batch of it


class Batch(NamedTuple):
    """A complete batch."""

    key: BatchKey
    end: int  # the byte at which its rows end in the rows' file
    size: int  # its number of samples
    samples: Sequence[int] | None  # their indices in the dataset, if it has indices

    def line(self) -> dict[str, Any]:
        """Return its note."""
        note = {"batch": self.key, "end": self.end}
        samples = self.samples
        if samples is None:
            return {**note, "count": self.size}
        first, step = (samples[0], samples[1] - samples[0]) if len(samples) > 1 else (samples[0] if samples else 0, 1)
        # a range takes a few bytes for a batch of any size, and most samplers are sequential
        regular = range(first, first + step * len(samples), step) if step else None
        if regular is not None and list(regular) == list(samples):
            return {**note, "range": [regular.start, regular.stop, regular.step]}
        return {**note, "samples": list(samples)}


def batch_of(line: dict[str, Any]) -> Batch | None:
    """Return the batch that a line notes, if it notes one."""
    if "batch" not in line:
        return None
    loader, number = line["batch"]
    samples = range(*line["range"]) if "range" in line else line.get("samples")
    return Batch((loader, number), line["end"], line["count"] if samples is None else len(samples), samples)


def encoded(line: dict[str, Any], before: int) -> tuple[bytes, int]:
    """Encode a line that follows one with this checksum; return its own checksum too."""
    text = json.dumps(line).encode().removesuffix(b"}")
    check = zlib.crc32(text, before)
    return b"%s%s%d}\n" % (text, _CHECK, check), check


def lines(path: Path, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the lines of a progress file from a byte on, up to a torn one, each with the byte at which it ends."""
    for position, text in _texts(path, start):
        line = _parsed(text)
        if line is None:
            return
        yield position, line


def verified(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield the lines up to the first damaged one, each with the byte at which it ends and its checksum."""
    before, has_check = 0, False
    for position, text in _texts(path, 0):
        body, mark, check = text.rpartition(_CHECK)
        if mark:
            before, has_check = zlib.crc32(body, before), True
        line = _parsed(text)
        # a file whose notes have checksums has one in each: where it is missing, it was altered too
        if line is None or (b"%d}\n" % before != check if mark else has_check):
            return
        yield position, before, line


def after(path: Path, start: int) -> list[dict[str, Any] | None]:
    """Read the lines from a byte on, some of which are damaged; None for those that cannot be read."""
    return [_parsed(text) for _, text in _texts(path, start)]


def _texts(path: Path, start: int) -> Iterator[tuple[int, bytes]]:
    with open(path, "rb") as file:
        file.seek(start)
        for text in file:
            if text.endswith(b"\n"):
                start += len(text)
                yield start, text


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:  # a disk that lost power can leave bytes that nobody wrote
        return None
    return line if isinstance(line, dict) else None
