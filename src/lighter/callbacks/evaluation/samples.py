"""Indices of evaluated samples in their dataset, found without asking samplers that draw random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, SequentialSampler, Subset


def eval_loaders(trainer: pl.Trainer, mode: str) -> list[Any]:
    """Return the dataloaders of a mode, one after the other."""
    return tree_leaves(trainer.test_dataloaders if mode == "test" else trainer.val_dataloaders)


class BatchSamples(NamedTuple):
    """The samples of a batch: their indices in the whole dataset, and in what the loader has of it.

    `is_first` says which of them come here first; None if all do.
    """

    indices: np.ndarray
    numbers: np.ndarray
    is_first: np.ndarray | None


class SampleIndices:
    """The indices of the samples that a process evaluates of one dataloader, batch after batch.

    `is_known` is False for samplers of other kinds, and for streams: their samples are numbered as they come. It
    becomes False once a batch has more or fewer predictions than the dataloader gave samples. `position` is the number
    of samples so far.
    """

    def __init__(self, loader: object) -> None:
        self.position, self._dataset = 0, getattr(loader, "dataset", None)
        sampler = getattr(loader, "sampler", None)
        is_plain = isinstance(loader, DataLoader) and loader.batch_size is not None
        has_order = type(sampler) is SequentialSampler or (type(sampler) is DistributedSampler and not sampler.shuffle)
        self.is_known = is_plain and has_order and not isinstance(self._dataset, IterableDataset)
        # of a distributed sampler: every how many samples, from which on
        self._step = sampler.num_replicas if isinstance(sampler, DistributedSampler) else 1
        self._first = sampler.rank if isinstance(sampler, DistributedSampler) else 0
        self._size = len(self._dataset) if self.is_known else None  # type: ignore[arg-type]
        self._batch_size = loader.batch_size if isinstance(loader, DataLoader) and self.is_known else None
        self._length = len(sampler) if sampler is not None and self.is_known else 0

    def next(self, count: int) -> BatchSamples:
        """Return the next samples.

        Distributed samplers repeat some samples, so that all processes have as many.
        """
        if self.is_known and count != self._count_of_batch():
            # a step that filters samples: which of them it kept, and so the index of each later one, is not known
            self.is_known, self._size = False, None
        positions = np.arange(self.position, self.position + count, dtype=np.int64)
        self.position += count
        numbers = positions * self._step + self._first
        if self._size is None or self._step == 1:
            return BatchSamples(self._in_dataset(numbers), numbers, None)
        is_first, numbers = numbers < self._size, numbers % max(self._size, 1)
        return BatchSamples(self._in_dataset(numbers), numbers, None if is_first.all() else is_first)

    def skip(self) -> None:
        """Pass over the samples of a batch that the step left out."""
        if self.is_known:
            self.position += self._count_of_batch()

    def end_of(self, wanted: Sequence[int], *, in_dataset: bool) -> int:
        """Return a position after the last of some samples: none of them comes later.

        They are given by their indices in the whole dataset, or in what the loader has of it.
        """
        size = self._size
        if size is None:
            return max(wanted) + 1
        if in_dataset and type(self._dataset) is Subset:
            wanted = np.flatnonzero(np.isin(self._in_dataset(np.arange(size)), wanted)).tolist()
        return max((number // self._step + 1 for number in wanted if number < size), default=0)

    def _count_of_batch(self) -> int:
        return min(self._batch_size or 0, self._length - self.position)

    def _in_dataset(self, numbers: np.ndarray) -> np.ndarray:
        """Return the indices in the whole dataset, if the loader's is a subset of it."""
        dataset = self._dataset
        while self.is_known and type(dataset) is Subset:
            numbers, dataset = np.asarray(dataset.indices, dtype=np.int64)[numbers], dataset.dataset
        return numbers
