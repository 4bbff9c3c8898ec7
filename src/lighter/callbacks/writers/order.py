"""Rows of several parts in the order of the dataset.

Each part is cut into runs, stretches in which the samples go forward; a sequential or distributed sampler makes one run
of a whole part. The runs are merged, with one batch of each in memory: memory does not grow with the rows, only with
the runs, of which a shuffled sampler makes one for each batch.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from lighter.callbacks.writers.part import Part
from lighter.callbacks.writers.progress import Batch

Split = Callable[[bytes, int], Sequence[Any]]
"""A batch's rows from its bytes and their number."""

_APART = 2**48  # more samples than a process sees


@dataclass(frozen=True)
class _Run:
    part: int
    notes: int  # where its notes begin, in bytes
    rows: int  # where its rows begin, in bytes
    batches: int


def is_in_order(parts: Sequence[Part]) -> bool:
    """Whether the rows lie in the order of the dataset already."""
    return len(parts) == 1 and len(_runs(parts[0], 0)) <= 1


def in_order(parts: Sequence[Part], split: Split) -> Iterator[Any]:
    """The rows of all parts, by dataloader and index in the dataset.

    A sample that several processes predicted, as the samplers of distributed runs repeat some, comes once. Samples
    of datasets without indices come process after process, in the order in which they were predicted.
    """
    files = [os.open(part.rows, os.O_RDONLY) for part in parts if part.rows is not None]
    try:
        runs = [run for number, part in enumerate(parts) for run in _runs(part, number)]
        rows = heapq.merge(*(_rows(run, parts[run.part], files[run.part], split) for run in runs), key=itemgetter(0))
        last = None
        for sample, row in rows:
            if sample != last or len(parts) == 1:
                yield row
            last = sample
    finally:
        for file in files:
            os.close(file)


def _runs(part: Part, number: int) -> list[_Run]:
    found: list[_Run] = []
    rows, notes, last, count, begun = len(part.header or b""), 0, (-1, -1), 0, (0, 0)
    for position, batch in part.batches():
        first, highest = _span(batch)
        if count and (batch.place[0], first) <= last:
            found.append(_Run(number, *begun, count))
            count = 0
        if not count:
            begun = (notes, rows)
        last, count, rows, notes = (batch.place[0], highest), count + 1, batch.end, position
    return [*found, _Run(number, *begun, count)] if count else found


def _span(batch: Batch) -> tuple[int, int]:
    """The lowest and highest index of a batch; of one without indices, something that goes forward."""
    if batch.samples is None:
        return batch.place[1], batch.place[1]
    return (min(batch.samples), max(batch.samples)) if batch.size else (batch.place[1], -1)


def _rows(run: _Run, part: Part, file: int, split: Split) -> Iterator[tuple[tuple[int, int], Any]]:
    """The rows of a run, each with its dataloader and index."""
    start, done, seen = run.rows, 0, 0
    for _, batch in part.batches(run.notes):
        rows = split(_read(file, start, batch.end - start), batch.size)
        samples = batch.samples
        if samples is None:  # one process after another
            samples = range(run.part * _APART + seen, run.part * _APART + seen + batch.size)
        numbered = zip(samples, rows, strict=True)
        for index, row in numbered if _ascends(samples) else sorted(numbered, key=itemgetter(0)):
            yield (batch.place[0], index), row
        start, done, seen = batch.end, done + 1, seen + batch.size
        if done == run.batches:
            return


def _ascends(samples: Sequence[int]) -> bool:
    return isinstance(samples, range) and samples.step > 0


def _read(file: int, start: int, size: int) -> bytes:
    read = b""
    while len(read) < size:  # one call reads at most 2 GiB
        piece = os.pread(file, size - len(read), start + len(read))
        if not piece:
            raise OSError(f"{size} bytes of rows were noted at {start}, and {len(read)} are there")
        read += piece
    return read
