"""Merge the rows of several parts in the order of the dataset.

Each part is cut into runs, in which the samples' indices increase; a sequential or distributed sampler makes one run
of a whole part. The runs are merged, with one batch of each in memory: memory does not grow with the rows, only with
the runs, of which a shuffled sampler makes one for each batch.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from lighter.callbacks.writers.disk import sync
from lighter.callbacks.writers.formats import Format
from lighter.callbacks.writers.part import Part

Split = Callable[[bytes, int], Sequence[Any]]  # a batch's rows from its bytes and their number

_APART = 2**48  # more samples than a process sees, so that the processes' samples follow each other


class _Run(NamedTuple):
    part: int
    notes: int  # where its notes begin, in bytes
    rows: int  # where its rows begin, in bytes
    batches: int


def whole_file(parts: Sequence[Part], form: Format, merging: Path) -> Path:
    """Return the file of all rows: the only part if that is one, otherwise a new file, in the order of the dataset."""
    first = parts[0]
    is_only_run = len(parts) == 1 and len(_runs(first, 0)) <= 1
    # most predictions are of one process and in order: their rows are not copied
    if first.rows is not None and first.header is not None and form.suffix is None and is_only_run:
        return first.rows
    header = next((part.header for part in parts if part.header is not None), None)
    form.write(merging, form.header(None) if header is None else header, in_order(parts, form.split))
    sync(merging)
    return merging


def in_order(parts: Sequence[Part], split: Split) -> Iterator[Any]:
    """Yield the rows of all parts, by dataloader and index in the dataset.

    A sample that several processes predicted, as the samplers of distributed runs repeat some, comes once. Samples
    of datasets without indices come process after process, in the order in which they were predicted.
    """
    # descriptors for `pread`: the runs of a part read at positions of their own
    files = [os.open(part.rows, os.O_RDONLY) for part in parts if part.rows is not None]
    try:
        runs = [run for number, part in enumerate(parts) for run in _runs(part, number)]
        rows = heapq.merge(*(_rows(run, parts[run.part], files[run.part], split) for run in runs), key=itemgetter(0))
        last = None
        for sample, row in rows:
            if sample != last or len(parts) == 1:  # one process repeats a sample only if its sampler means to
                yield row
            last = sample
    finally:
        for file in files:
            os.close(file)


def _runs(part: Part, number: int) -> list[_Run]:
    runs: list[_Run] = []
    rows, notes, last, count, begun = len(part.header or b""), 0, (-1, -1), 0, (0, 0)
    for position, batch in part.batches():
        # without indices, the number of the batch increases in their place
        first = highest = batch.key[1]
        if batch.samples:
            first, highest = min(batch.samples), max(batch.samples)
        elif batch.samples is not None:  # an empty batch, after which every index is in order
            highest = -1
        if count and (batch.key[0], first) <= last:
            runs.append(_Run(number, *begun, count))
            count = 0
        if not count:
            begun = (notes, rows)
        last, count, rows, notes = (batch.key[0], highest), count + 1, batch.end, position
    return [*runs, _Run(number, *begun, count)] if count else runs


def _rows(run: _Run, part: Part, file: int, split: Split) -> Iterator[tuple[tuple[int, int], Any]]:
    start, done, seen = run.rows, 0, 0
    for _, batch in part.batches(run.notes):
        rows = split(_read(file, start, batch.end - start), batch.size)
        samples = batch.samples
        if samples is None:  # numbers in their place, by which one process follows another
            samples = range(run.part * _APART + seen, run.part * _APART + seen + batch.size)
        numbered = zip(samples, rows, strict=True)
        is_ascending = isinstance(samples, range) and samples.step > 0  # which a sequential sampler's are
        for index, row in numbered if is_ascending else sorted(numbered, key=itemgetter(0)):
            yield (batch.key[0], index), row
        start, done, seen = batch.end, done + 1, seen + batch.size
        if done == run.batches:
            return


def _read(file: int, start: int, size: int) -> bytes:
    read = b""
    while len(read) < size:  # one call reads at most 2 GiB
        piece = os.pread(file, size - len(read), start + len(read))
        if not piece:
            raise OSError(f"{size} bytes of rows were noted at {start}, and {len(read)} are there")
        read += piece
    return read
