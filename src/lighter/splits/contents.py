"""Hashes of a dataset's samples, where its attributes hold them: tensors, arrays, texts, or paths of files.

No sample is loaded: that may take long, draw random numbers, or open files that workers must not inherit. Labels are
left out, so two samples are the same if their inputs are.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset, TensorDataset

MOST_BYTES = 2 * 2**30  # of tensors and arrays that are hashed
MOST_READ = 512 * 2**20  # of files that are read
_ROWS_AT_ONCE = 4096
_NEEDLESS = ("targets", "labels", "y", "classes", "groups", "times")

Hashes = list[bytes | None]
Hash = Callable[[int], bytes | None]


class UnknownContentError(Exception):
    """Raised for a dataset whose samples are not known without loading them; the message says why."""


def hashes(dataset: Any, *, of_all: bool = False) -> Hashes:
    """Return a hash of each sample; None for a sample that no other can be the same as.

    With `of_all`, each has one: samples of another dataset may be the same.

    Raises:
        UnknownContentError: they cannot be had.
    """
    if type(dataset) is Subset:
        inner = hashes(dataset.dataset, of_all=True)
        return [inner[index] for index in dataset.indices]
    if type(dataset) is ConcatDataset:
        return [digest for part in dataset.datasets for digest in hashes(part, of_all=True)]
    samples = len(dataset)
    columns = [column for column in _columns(dataset, samples, of_all=of_all) if column is not None]
    if not columns:
        raise UnknownContentError(f"{type(dataset).__name__} does not hold its samples in tensors, arrays or files")
    if len(columns) == 1:
        return [columns[0](index) for index in range(samples)]
    return [_joined([column(index) for column in columns]) for index in range(samples)]


def _joined(parts: Sequence[bytes | None]) -> bytes | None:
    known = [part for part in parts if part is not None]
    return b"".join(known) if len(known) == len(parts) else None


def _columns(dataset: Any, samples: int, *, of_all: bool) -> Iterator[Hash | None]:
    budget = MOST_BYTES
    for value in _held(dataset):
        if not isinstance(value, (torch.Tensor, np.ndarray)):
            is_column = isinstance(value, (list, tuple)) and len(value) == samples
            yield _of_list(value, of_all=of_all) if is_column else None
            continue
        if not value.ndim or len(value) != samples or _is_code(value):
            continue
        rows = _rows(value)
        if rows is None:
            raise UnknownContentError("its samples are on a device, or sparse")
        budget -= rows.nbytes
        if budget < 0:
            raise UnknownContentError(f"its samples are more than {MOST_BYTES >> 30} GiB")
        yield _of_rows(rows, of_all=of_all)


def _held(dataset: Any) -> list[Any]:
    if isinstance(dataset, TensorDataset):
        return list(dataset.tensors[:-1] if len(dataset.tensors) > 1 else dataset.tensors)
    return [value for name, value in getattr(dataset, "__dict__", {}).items() if name not in _NEEDLESS]


def _is_code(value: Any) -> bool:
    # One whole number for each sample is a label or an index, and says little about the sample.
    width = math.prod(value.shape[1:])
    is_real = value.is_floating_point() if isinstance(value, torch.Tensor) else value.dtype.kind in "fcU"
    return bool(width <= 1 and not is_real)


def _rows(value: Any) -> NDArray[np.uint8] | None:
    """Return the bytes of each row."""
    if isinstance(value, torch.Tensor):
        if value.device.type != "cpu" or value.layout is not torch.strided:
            return None
        flat = value.detach().contiguous().flatten(1) if value.ndim > 1 else value.detach().contiguous()[:, None]
        return flat.view(torch.uint8).numpy()
    if value.dtype.kind == "O":
        return None
    array = np.ascontiguousarray(value).reshape(len(value), -1)
    return array.view(np.uint8).reshape(len(value), -1)


def _of_rows(rows: NDArray[np.uint8], *, of_all: bool) -> Hash:
    alike = np.ones(len(rows), dtype=bool) if of_all else _perhaps_alike(rows)
    return lambda index: _digest(rows[index].tobytes()) if alike[index] else None


def _perhaps_alike(rows: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which rows another one may be equal to: those of one sum, which costs a tenth of a hash."""
    words = -(-rows.shape[1] // 8)
    weights = np.random.default_rng(0).integers(1, 2**63, words, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    sums = np.empty(len(rows), dtype=np.uint64)
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[begin : begin + _ROWS_AT_ONCE]
        padded = np.zeros((len(part), words * 8), dtype=np.uint8)
        padded[:, : rows.shape[1]] = part
        sums[begin : begin + len(part)] = padded.view(np.uint64) @ weights
    _, inverse, counts = np.unique(sums, return_inverse=True, return_counts=True)
    alike: NDArray[np.bool_] = counts[inverse] > 1
    return alike


def _of_list(values: Sequence[Any], *, of_all: bool) -> Hash | None:
    first = values[0][0] if isinstance(values[0], (list, tuple)) and values[0] else values[0]
    if isinstance(first, (str, os.PathLike)):
        texts = [os.fspath(value[0] if isinstance(value, (list, tuple)) else value) for value in values]
        return _of_files(texts, of_all=of_all) if os.path.isfile(texts[0]) else _of_texts(texts)
    if all(isinstance(value, (torch.Tensor, np.ndarray)) for value in values):
        return lambda index: _digest(_whole(values[index]).tobytes())
    if hasattr(first, "tobytes") and hasattr(first, "size"):  # images of Pillow's
        return lambda index: _digest(values[index].tobytes())
    return None


def _whole(value: Any) -> NDArray[np.uint8]:
    rows = _rows(value[None])
    if rows is None:
        raise UnknownContentError("its samples are on a device, or sparse")
    return rows


def _of_texts(texts: Sequence[str]) -> Hash | None:
    # a few words that many samples share are labels
    if len(set(texts)) * 2 < len(texts):
        return None
    return lambda index: _digest(texts[index].encode("utf-8", "replace"))


def _of_files(names: Sequence[str], *, of_all: bool) -> Hash:
    """Hash files: those that no other has the size of need not be read."""
    sizes = [os.path.getsize(name) if os.path.isfile(name) else -1 for name in names]
    alike = {size for size, count in Counter(sizes).items() if count > 1 or of_all}
    if sum(size for name, size in {*zip(names, sizes, strict=True)} if size in alike) > MOST_READ:
        # by their names alone: the same file twice is found, and a copy of it is not
        return lambda index: os.path.realpath(names[index]).encode()
    return lambda index: _of_file(names[index], sizes[index]) if sizes[index] in alike else None


def _of_file(name: str, size: int) -> bytes:
    if size < 0:
        return name.encode()
    with open(name, "rb") as file:
        return _digest(file.read())


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
