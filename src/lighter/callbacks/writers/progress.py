"""What a writer notes of its progress: a JSON line when it begins, one for each batch, and one at the end.

    {"about": {"writer": "CsvWriter", "columns": ["id", "pred"], "processes": 1, ...}}
    {"header": 10}                                              the rows' file begins with 10 bytes of header
    {"batch": [0, 0], "end": 523, "range": [0, 32, 1]}          dataloader 0, batch 0: samples 0 to 31; up to byte 523
    {"batch": [0, 1], "end": 717, "samples": [40, 32, 33]}      samples in no regular order
    {"batch": [0, 2], "end": 990, "count": 32}                  samples of a dataset without indices
    {"ended": true}
    {"whole": [64768, 1234]}                                    the file that is about to get its name: device and inode

A line is written after what it tells of. So whatever a process is killed at, every whole line is true, and what comes
after the last one, in either file, is a batch that is not complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Place = tuple[int, int]
"""A dataloader and a batch of it."""


class Batch(NamedTuple):
    """A batch that is complete.

    Attributes:
        place: dataloader and batch.
        end: where its rows end in the rows' file, in bytes.
        size: its number of samples.
        samples: their indices in the dataset; None if it has none.
    """

    place: Place
    end: int
    size: int
    samples: Sequence[int] | None

    def line(self) -> dict[str, Any]:
        """What is noted."""
        return {"batch": self.place, "end": self.end, **_noted(self.samples, self.size)}


def batch_of(line: dict[str, Any]) -> Batch | None:
    """The batch that a line tells of, if it tells of one."""
    if "batch" not in line:
        return None
    loader, number = line["batch"]
    samples = range(*line["range"]) if "range" in line else line.get("samples")
    return Batch((loader, number), line["end"], line["count"] if samples is None else len(samples), samples)


def encoded(line: dict[str, Any]) -> bytes:
    """A line as it is written."""
    return json.dumps(line).encode() + b"\n"


def lines(path: Path, start: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """The whole lines of a progress file from a byte on, each with the byte at which it ends. A torn one ends them."""
    with open(path, "rb") as file:
        file.seek(start)
        position = start
        for text in file:
            if not text.endswith(b"\n"):
                return
            try:
                line = json.loads(text)
            except ValueError:  # a disk that lost power can leave bytes that nobody wrote
                return
            position += len(text)
            yield position, line


def _noted(samples: Sequence[int] | None, size: int) -> dict[str, Any]:
    if samples is None:
        return {"count": size}
    first, step = (samples[0], samples[1] - samples[0]) if len(samples) > 1 else (samples[0] if samples else 0, 1)
    regular = range(first, first + step * len(samples), step) if step else None
    if regular is not None and list(regular) == list(samples):
        return {"range": [regular.start, regular.stop, regular.step]}
    return {"samples": list(samples)}
