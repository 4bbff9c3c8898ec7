"""Datasets and loaders of which whole batches are loaded at once, or are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor, nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    Sampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)

from lighter.parts.collate import collate_with_none
from lighter.trainer.batch_indexing import BatchIndexing

WARNINGS = pytest.mark.filterwarnings(
    "ignore:'pin_memory' argument is set as true but no accelerator",
    "ignore:.*sampler has shuffling enabled",
    "ignore:You defined a `validation_step` but have no",
    "ignore:Sparse",
    "ignore:.*quantiz",
)
SIZE = 23
LOADED_WITH = ("dataset", "collate_fn", "batch_sampler", "sampler", "batch_size", "drop_last")


def numbers(*shape: int, size: int = SIZE) -> Tensor:
    return torch.randn(size, *shape, generator=torch.Generator().manual_seed(size))


def tensors(size: int = SIZE) -> TensorDataset:
    return TensorDataset(numbers(4, size=size), (numbers(size=size) > 0).long())


class Doubling(TensorDataset):
    """One of the user's, which gives something else."""

    def __getitem__(self, index: int) -> Any:
        return tuple(tensor * 2 for tensor in super().__getitem__(index))


class AtOnce(Doubling):
    """One that loads a batch at a time."""

    asked = 0

    def __getitems__(self, indices: list[int]) -> list[Any]:
        self.asked += 1
        return [self[index] for index in indices]


class Tagged(Tensor):
    """A tensor of the user's."""


def subset(indices: Any) -> Subset:
    return Subset(tensors(), indices)


def changed(dataset: Any, **attributes: Any) -> Any:
    vars(dataset).update(attributes)
    return dataset


def with_nan() -> Tensor:
    tensor = numbers(3).double()
    tensor[::2], tensor[1::4] = float("nan"), -0.0
    return tensor


INDEXED: dict[str, Callable[[], Any]] = {
    "tensors": tensors,
    "one tensor": lambda: TensorDataset(numbers(2, 3)),
    "a plain tensor": lambda: numbers(2),
    "a plain vector": numbers,
    "NaN and negative zeros": lambda: TensorDataset(with_nan(), with_nan().to(torch.bfloat16), numbers(1).half()),
    "other types": lambda: TensorDataset(numbers(3) > 0, (numbers(2) * 9).to(torch.uint8), numbers(2).to(torch.cfloat)),
    "images, channels last": lambda: TensorDataset(numbers(3, 4, 5).to(memory_format=torch.channels_last)),
    "rows that are not contiguous": lambda: TensorDataset(numbers(6, 4).transpose(1, 2)[:, 1:3], numbers(2)[:, 0]),
    "rows that overlap": lambda: TensorDataset(numbers(1).expand(SIZE, 7)),
    "empty rows": lambda: TensorDataset(numbers(0), numbers()),
    "conjugates": lambda: TensorDataset(numbers(3).to(torch.cfloat).conj(), numbers(3).to(torch.cfloat).conj().imag),
    "a list of indices": lambda: subset([5, 1, 1, 22, 0, 7, 9, 9, 3, 4]),
    "a range of indices": lambda: subset(range(20, 3, -2)),
    "an array of indices": lambda: subset(np.arange(SIZE)[::-1]),
    "a tensor of indices": lambda: subset(torch.arange(SIZE).flip(0)),
    "random_split": lambda: random_split(tensors(), [0.7, 0.3], torch.Generator().manual_seed(1))[0],
    "a subset of a subset": lambda: Subset(subset(list(range(3, 20))), list(range(10, 0, -1))),
    "a subset of a tensor": lambda: Subset(numbers(2), [3, 2, 1, 2, 3]),
    "datasets": lambda: ConcatDataset([tensors(5), tensors(1), tensors(9)]),
    "datasets, one empty": lambda: ConcatDataset([tensors(5), subset([]), tensors(9)]),
    "nested datasets": lambda: ConcatDataset([subset([4, 2]), ConcatDataset([tensors(6), subset(range(8))])]),
    "a subset of datasets": lambda: Subset(ConcatDataset([tensors(9), tensors(8)]), [16, 0, 8, 9, 3, 3, 12]),
    "tensors together": lambda: ConcatDataset([numbers(2, size=5), numbers(2, size=6)]),
}
ONE_BY_ONE: dict[str, Callable[[], Any]] = {  # some are not known before there is a batch
    "a subclass": lambda: Doubling(*tensors().tensors),
    "a subset of a subclass": lambda: Subset(Doubling(*tensors().tensors), range(9)),
    "batches by the dataset": lambda: AtOnce(*tensors().tensors),
    "pairs": lambda: list(zip(*tensors().tensors, strict=True)),
    "stacked datasets": lambda: StackDataset(a=tensors(), b=numbers(2)),
    "negative indices of a subset": lambda: subset([-1, 3, -4, 5, 0]),
    "negative indices of datasets": lambda: Subset(ConcatDataset([tensors(9), tensors(8)]), [-1, 0, -17, 3]),
    "small integers of NumPy": lambda: subset(np.arange(SIZE, dtype=np.int32)),
    "integers of NumPy": lambda: subset(list(np.arange(SIZE))),
    "gradients": lambda: TensorDataset(numbers(2).requires_grad_()),
    "a tensor of the user's": lambda: TensorDataset(numbers(2).as_subclass(Tagged)),
    "a parameter": lambda: TensorDataset(nn.Parameter(numbers(2), requires_grad=False)),
    "quantized": lambda: TensorDataset(torch.quantize_per_tensor(numbers(2), 0.1, 0, torch.qint8)),
    "datasets of other types": lambda: ConcatDataset([numbers(2, size=9), numbers(2, size=9).double()]),
}


def by_size(**more: Any) -> Callable[[Any], DataLoader]:
    return lambda dataset: DataLoader(dataset, **{"batch_size": 4, **more})


def drawn(kind: Callable[..., Any], **more: Any) -> Callable[[Any], DataLoader]:
    return lambda dataset: DataLoader(dataset, batch_size=4, sampler=kind(dataset), **more)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(8)


class Evens(Sampler):
    """A batch sampler of the user's, which gives anything."""

    def __init__(self, size: int, kind: Callable[[list[int]], Any]) -> None:
        self.size, self.kind = size, kind

    def __iter__(self) -> Iterator[Any]:
        return (self.kind([at, at + 2, at]) for at in range(0, self.size - 2, 2))


LOADERS: dict[str, Callable[[Any], DataLoader]] = {
    "in order": by_size(),
    "shuffled": by_size(shuffle=True),
    "shuffled by a generator": lambda dataset: DataLoader(dataset, batch_size=4, shuffle=True, generator=seeded()),
    "one by one": lambda dataset: DataLoader(dataset, shuffle=True),
    "all at once": lambda dataset: DataLoader(dataset, batch_size=100, shuffle=True),
    "the last dropped": by_size(drop_last=True, shuffle=True),
    "of a whole number of batches": lambda dataset: DataLoader(dataset, batch_size=len(dataset), shuffle=True),
    "drawn with repetition": drawn(lambda d: RandomSampler(d, replacement=True, num_samples=11)),
    "drawn more often": drawn(lambda d: RandomSampler(d, num_samples=2 * len(d) + 1)),
    "drawn of a part": drawn(lambda d: RandomSampler(d, num_samples=3, generator=torch.Generator().manual_seed(2))),
    "by weights": drawn(lambda d: WeightedRandomSampler([1.0] * len(d), 9)),
    "a random part": drawn(lambda d: SubsetRandomSampler(range(3))),
    "of several processes": drawn(lambda d: DistributedSampler(d, num_replicas=2, rank=1)),
    "the user's batches": lambda d: DataLoader(d, batch_sampler=BatchSampler(RandomSampler(d), 3, True)),
    "pinned": by_size(pin_memory=True),
    "None kept": by_size(collate_fn=collate_with_none),
}
OTHER_LOADERS: dict[str, Callable[[Any], DataLoader]] = {
    "the user's collate function": by_size(collate_fn=lambda samples: default_collate(samples)),
    "no batches": lambda dataset: DataLoader(dataset, batch_size=None),
    "a subclass": lambda dataset: type("Mine", (DataLoader,), {})(dataset, batch_size=4),
    "tuples": lambda dataset: DataLoader(dataset, batch_sampler=Evens(len(dataset), tuple)),
    "arrays": lambda dataset: DataLoader(dataset, batch_sampler=Evens(len(dataset), np.array)),
    "tensors": lambda dataset: DataLoader(dataset, batch_sampler=Evens(len(dataset), torch.tensor)),
    "masks": lambda dataset: DataLoader(tensors(), batch_sampler=Evens(9, lambda at: torch.ones(3) > 0)),
}


def described(batch: Any) -> Any:
    """All of a batch that code can see, its bits as bytes."""
    if isinstance(batch, Tensor):
        whole = batch.detach()
        bits = whole.int_repr() if whole.is_quantized else whole.resolve_conj().resolve_neg().contiguous()
        data = bits.reshape(-1).view(torch.uint8).numpy().tobytes() if bits.numel() else b""
        flags = batch.requires_grad, batch.is_leaf, batch.is_conj(), batch.is_neg(), batch.is_inference()
        layout = batch.layout, batch.device, batch.stride(), batch.storage_offset(), batch.untyped_storage().nbytes()
        return type(batch), batch.dtype, batch.shape, *layout, *flags, data
    if isinstance(batch, dict):
        return type(batch), {key: described(value) for key, value in batch.items()}
    return type(batch), [described(item) for item in batch] if isinstance(batch, (list, tuple)) else batch


def iterated(make: Callable[[], DataLoader], *, by_loop: bool) -> list[Any]:
    """Two epochs, and what the generators are left with."""
    torch.manual_seed(4)
    loader, seen = make(), []
    before = {name: vars(loader)[name] for name in LOADED_WITH}
    for _ in range(2):
        with BatchIndexing().begun(CombinedLoader(loader) if by_loop else None):
            iterator = iter(loader)
        assert all(vars(loader)[name] is value for name, value in before.items())
        seen += [[described(batch) for batch in iterator], torch.get_rng_state().tolist()]
    if isinstance(generator := getattr(loader.sampler, "generator", None), torch.Generator):
        seen.append(generator.get_state().tolist())
    return seen


def assert_same(loaders: Mapping[str, Callable[[Any], DataLoader]], dataset: Callable[[], Any]) -> None:
    for name, loader in loaders.items():

        def make(loader: Callable[[Any], DataLoader] = loader) -> DataLoader:
            return loader(dataset())

        assert iterated(make, by_loop=True) == iterated(make, by_loop=False), name
