"""Batches of tensors indexed at once: what dataloaders load with while a loop begins to iterate over them.

torch's `DataLoader` asks a `TensorDataset` for one sample after another and stacks them, which for small samples takes
longer than a step of training. An iterator takes dataset, collate function and batch sampler from its loader when it
begins. Only then, `BatchIndexing` replaces them by others that index whole batches, and gives them back at once, so
that the loader is the user's for everybody else. Same bits, same order, same draws; where that is not known, samples
are asked for one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeGuard

import numpy as np
import torch
from lightning_fabric.utilities.seed import pl_worker_init_function
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from lighter._lightning.dataloaders import StandIn
from lighter.parts.collate import stacks_tensors
from lighter.trainer.stopping.dataloader_workers import StaysForStop

Batch = Tensor | list[Tensor]
# to index one more of concatenated datasets takes as long as to load so many samples
SAMPLES_PER_PART = 10


class BatchIndexing:
    """Has dataloaders index whole batches in the iterations that begin between `open` and `close`."""

    def __init__(self) -> None:
        self._theirs: list[tuple[DataLoader, dict[str, Any]]] = []

    @contextmanager
    def begun(self, combined: CombinedLoader | None) -> Iterator[None]:
        """Let the loop begin iterations; of loaders that are not made yet, once they are given to `open`."""
        self.open(combined)
        try:
            yield
        finally:
            self.close()

    def open(self, combined: CombinedLoader | None) -> None:
        """Replace what the loaders load with."""
        self.close()
        for loader in combined.flattened if combined is not None else ():
            if can_index(loader):
                dataset, collate_fn, sampler = loader.dataset, loader.collate_fn, loader.batch_sampler
                theirs = {"dataset": dataset, "collate_fn": collate_fn, "batch_sampler": sampler}
                self._theirs.append((loader, theirs))
                ours = {"dataset": WholeBatches(dataset, collate_fn), "collate_fn": _collated}
                # by `vars`, as torch refuses to set the attributes by their names
                vars(loader).update(ours if loader.num_workers else {**ours, "batch_sampler": in_tensors(sampler)})

    def close(self) -> None:
        for loader, theirs in self._theirs:
            vars(loader).update(theirs)
        self._theirs = []


def can_index(loader: object) -> TypeGuard[DataLoader]:
    """Return whether batches of a dataloader are tensors' rows, stacked as torch does by default."""
    return (
        type(loader) is DataLoader
        and loader.batch_sampler is not None
        and consists_of(loader.dataset, (TensorDataset, Tensor))
        and stacks_tensors(loader.collate_fn)
        and not (loader.num_workers and _may_see_dataset(loader.worker_init_fn))
    )


def consists_of(dataset: object, kinds: Sequence[type]) -> bool:
    """Return whether a dataset is of one of these types exactly, or made of such by `Subset` and `ConcatDataset`."""
    if type(dataset) is Subset:
        return consists_of(dataset.dataset, kinds)
    if type(dataset) is ConcatDataset:
        return all(consists_of(part, kinds) for part in dataset.datasets)
    return type(dataset) in kinds


def _may_see_dataset(init: Any) -> bool:
    """Return whether a worker's init function is the user's."""
    # such a function may change the dataset, or its share of it, by `get_worker_info`
    init = init.init if type(init) is StaysForStop else init
    return init is not None and getattr(init, "func", None) is not pl_worker_init_function


def _collated(batch: Any) -> Any:
    return batch


class _NotIndexableError(Exception):
    """Raised for a batch that may differ from its stacked samples if it is indexed at once."""


class WholeBatches(StandIn):
    """Stands for a dataset of tensors; gives collated batches. Both arguments are the loader's own."""

    def __init__(self, dataset: Any, collate_fn: Callable[[list[Any]], Any]) -> None:
        super().__init__(dataset)
        self.collate_fn = collate_fn

    def __getitems__(self, indices: Any) -> Any:
        """Return the batch of these indices: a list of them, or what `in_tensors` draws."""
        try:
            # looked at in each batch, as the user may change what is indexed at any time
            return _batch(self.dataset, _as_tensor(indices))
        except (_NotIndexableError, LookupError, RuntimeError, OverflowError):
            return self._one_by_one(indices.tolist() if _is_vector(indices) else indices)

    def _one_by_one(self, indices: Any) -> Any:
        """Do as torch does, with its errors."""
        at_once = getattr(self.dataset, "__getitems__", None)
        return self.collate_fn(at_once(indices) if at_once else [self.dataset[index] for index in indices])


def _is_vector(indices: Any) -> TypeGuard[Tensor]:
    return type(indices) is Tensor and indices.dtype is torch.int64 and indices.dim() == 1 and indices.numel() > 0


def _as_tensor(indices: Any) -> Tensor:
    if _is_vector(indices):
        return indices
    # not `isinstance`: a bool among the indices is a mask
    if type(indices) is not list or set(map(type, indices)) != {int}:
        raise _NotIndexableError
    # takes half as long as `torch.tensor`
    return torch.from_numpy(np.array(indices, dtype=np.int64))


def _batch(dataset: Any, indices: Tensor) -> Batch:
    kind = type(dataset)
    if kind is TensorDataset:
        return [_rows(tensor, indices) for tensor in dataset.tensors]
    if kind is Subset:
        return _batch(dataset.dataset, _mapped(dataset.indices, indices))
    if kind is ConcatDataset:
        return _batch_of_parts(dataset, indices)
    return _rows(dataset, indices)


def _rows(tensor: Tensor, indices: Tensor) -> Tensor:
    """Return rows of a tensor."""
    # on a GPU the indices would have to be copied there first, and the host might wait for that
    if (
        type(tensor) is not Tensor
        or not tensor.is_cpu
        or not tensor.dim()  # has no rows, and `index_select` takes it for one of them
        or tensor.layout is not torch.strided
        or tensor.requires_grad
        or tensor.is_quantized
    ):
        raise _NotIndexableError
    return tensor.index_select(0, indices)


def _mapped(of_subset: Any, indices: Tensor) -> Tensor:
    if type(of_subset) in (list, tuple, range):
        return _as_tensor(list(map(of_subset.__getitem__, indices.tolist())))
    if type(of_subset) is np.ndarray and of_subset.ndim == 1 and of_subset.dtype == np.int64:
        return torch.from_numpy(of_subset[indices.numpy()])
    if _is_vector(of_subset):
        return _rows(of_subset, indices)
    raise _NotIndexableError


def _batch_of_parts(dataset: ConcatDataset, indices: Tensor) -> Batch:
    """Return a batch from datasets one after another: the rows of each, put into order."""
    # a call of torch takes five times as long as NumPy's
    samples, ends = indices.numpy(), dataset.cumulative_sizes
    # negative ones count from the end of all datasets, and not of one
    if samples.min() < 0:
        raise _NotIndexableError
    numbers = np.searchsorted(ends, samples, side="right")
    distinct = sorted(set(numbers.tolist()))
    if len(distinct) * SAMPLES_PER_PART > len(samples):
        raise _NotIndexableError
    parts, places = [], []
    for number in distinct:
        place = np.flatnonzero(numbers == number)
        begin = ends[number - 1] if number else 0
        parts.append(_batch(dataset.datasets[number], torch.from_numpy(samples[place] - begin)))
        places.append(place)
    return _joined(parts, torch.from_numpy(np.concatenate(places).argsort()))


def _joined(parts: Sequence[Batch], places: Tensor) -> Batch:
    """Return the rows of all parts, each at its place in the batch."""
    if len(parts) == 1:
        return parts[0]
    tensors = tuple(part for part in parts if isinstance(part, Tensor))
    lists = [part for part in parts if isinstance(part, list)]
    if (tensors and lists) or len({len(part) for part in lists}) > 1:
        raise _NotIndexableError
    return _ordered(tensors, places) if tensors else [_ordered(column, places) for column in zip(*lists, strict=True)]


def _ordered(tensors: tuple[Tensor, ...], places: Tensor) -> Tensor:
    if len({(tensor.dtype, tensor.shape[1:]) for tensor in tensors}) > 1:
        raise _NotIndexableError
    return torch.cat(tensors).index_select(0, places)


def in_tensors(batches: Any) -> Any:
    """Return a batch sampler that draws the same as tensors, where it is torch's; else itself."""
    # exact classes: a subclass of the user's may draw in any way
    is_torchs = type(batches) is BatchSampler and type(batches.sampler) in (RandomSampler, SequentialSampler)
    return IndexTensors(batches) if is_torchs else batches


class IndexTensors:
    """Draws what torch's `BatchSampler` draws, without a Python number for each sample."""

    def __init__(self, inner: BatchSampler) -> None:
        self.inner = inner

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Iterator[Any]:
        sampler: Any = self.inner.sampler
        samples, size = len(sampler.data_source), self.inner.batch_size
        draws = type(sampler) is RandomSampler
        if not draws:
            draw = partial(torch.arange, samples, device="cpu")
        # drawn in several turns by torch, or in part
        elif sampler.replacement or sampler.num_samples != samples:
            yield from self.inner
            return
        else:
            draw = partial(torch.randperm, samples, generator=_generator_of(sampler))
        order, whole = draw(), samples - samples % size
        for begin in range(0, whole, size):
            yield order[begin : begin + size]
        # as `RandomSampler` does when it is asked for one sample more than it has: it asks for its length again, and a
        # dataset may have grown or shrunk since
        rest = torch.cat([order[whole:], draw()[: sampler.num_samples % samples]]) if draws else order[whole:]
        for begin in range(0, len(rest), size):
            if begin + size <= len(rest) or not self.inner.drop_last:
                yield rest[begin : begin + size]


def _generator_of(sampler: RandomSampler) -> torch.Generator:
    if sampler.generator is not None:
        generator: torch.Generator = sampler.generator
        return generator
    # as `RandomSampler` does: one draw from the global generator seeds one of its own
    generator = torch.Generator()
    generator.manual_seed(int(torch.empty((), dtype=torch.int64).random_().item()))
    return generator
