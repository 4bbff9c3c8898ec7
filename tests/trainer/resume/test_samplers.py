"""The order of samples and what is drawn for each are functions of the seed, the epoch and the sample."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from lighter.trainer.resume.dataloaders import Loaders
from lighter.trainer.resume.samplers import draws_nothing

SIZE, BATCH = 24, 4


class Noisy(Dataset):
    """A sample's index, and a number from each of the global generators."""

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> tuple[int, float, float, float]:
        return index, random.random(), float(np.random.rand()), float(torch.rand(()))


class AtOnce(Noisy):
    """The same, a batch at a time."""

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self[index] for index in list(map(int, range(len(indices))))]


class Wandering(Sampler):
    """A sampler that draws from all global generators, sample by sample."""

    def __len__(self) -> int:
        return SIZE

    def __iter__(self) -> Iterator[int]:
        for _ in range(SIZE):
            drawn = random.random() + float(np.random.rand()) + float(torch.rand(()))
            yield int(drawn * 1000) % SIZE


class Named:
    """A name that somebody's sampler may give a sample."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __int__(self) -> int:
        return self.index


class Naming(Sampler):
    """A sampler, of batches or not, whose names for what is to be loaded are of any kind."""

    def __init__(self, kind: Callable[[Any], Any], batch: int | None) -> None:
        self.kind, self.batch = kind, batch

    def __len__(self) -> int:
        return SIZE // (self.batch or 1)

    def __iter__(self) -> Iterator[Any]:
        order = torch.randperm(SIZE).tolist()
        if self.batch is None:
            return map(self.kind, order)
        return (self.kind(order[at : at + self.batch]) for at in range(0, SIZE, self.batch))


class Strict(Noisy):
    """Notes of what type its indices are."""

    types: list[type]

    def __init__(self, types: list[type]) -> None:
        self.types = types

    def __getitem__(self, index: Any) -> Any:
        self.types.append(type(index))
        first = index[0] if isinstance(index, tuple) else index
        return super().__getitem__(int(str(first).strip("k")) if isinstance(first, str) else int(first))


class StrictAtOnce(Strict):
    """The same, of a batch at a time."""

    def __getitems__(self, indices: Any) -> list[Any]:
        self.types.append(type(indices))
        return [Noisy.__getitem__(self, int(index)) for index in indices]


def shuffled(**more: Any) -> DataLoader:
    return DataLoader(Noisy(), batch_size=BATCH, shuffle=True, **more)


def epoch(loader: DataLoader, number: int, *, seed: int = 3, skip: int = 0, disturb: bool = True) -> list[list[Any]]:
    """The batches of an epoch, while somebody else draws too."""
    loaders = Loaders()
    loaders.take([loader])
    place = loaders.place
    place.seed, place.epoch, place.trained = seed, number, (number, skip)
    batches = []
    for batch in loader:
        batches.append([torch.as_tensor(part).tolist() for part in batch])
        if disturb:
            torch.rand(7), random.random(), np.random.rand(3)
    loaders.release()
    return batches


def test_the_same_seed_and_epoch_give_the_same_samples() -> None:
    torch.manual_seed(0)
    first = epoch(shuffled(), 0)
    torch.manual_seed(1)
    random.seed(5)
    assert epoch(shuffled(), 0, disturb=False) == first
    assert epoch(shuffled(), 1) != first
    assert epoch(shuffled(), 0, seed=4) != first
    assert sorted(index for batch in first for index in batch[0]) == list(range(SIZE))


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_samples() -> None:
    first = epoch(shuffled(), 2)
    for workers in (1, 2):
        assert epoch(shuffled(num_workers=workers), 2) == first
    keeping = shuffled(num_workers=2, persistent_workers=True)
    assert [epoch(keeping, number, skip=2) for number in (1, 2)] == [epoch(shuffled(), n)[2:] for n in (1, 2)]
    assert len({index for batch in keeping for index in batch[0].tolist()}) == SIZE  # without a fit


@pytest.mark.slow
def test_workers_that_were_there_before_the_fit_are_keyed_too() -> None:
    keeping = shuffled(num_workers=1, persistent_workers=True)
    next(iter(keeping))
    assert [epoch(keeping, number) for number in (1, 2)] == [epoch(shuffled(), number) for number in (1, 2)]
    next(iter(keeping))
    assert epoch(keeping, 3, skip=2) == epoch(shuffled(), 3)[2:]


def test_a_samples_numbers_are_the_same_in_any_batch() -> None:
    def by_sample(loader: DataLoader) -> dict[int, Any]:
        return {sample[0]: sample[1:] for batch in epoch(loader, 1) for sample in zip(*batch, strict=True)}

    assert (
        by_sample(shuffled())
        == by_sample(DataLoader(Noisy(), batch_size=6))
        == by_sample(DataLoader(Noisy(), batch_size=5, sampler=SubsetRandomSampler(range(SIZE))))
    )


LOADERS = {
    "shuffled": shuffled,
    "in order": lambda: DataLoader(Noisy(), batch_size=BATCH),
    "a generator": lambda: shuffled(generator=torch.Generator().manual_seed(7)),
    "with replacement": lambda: DataLoader(
        Noisy(), batch_size=BATCH, sampler=RandomSampler(Noisy(), replacement=True, num_samples=SIZE)
    ),
    "weighted": lambda: DataLoader(
        Noisy(), batch_size=BATCH, sampler=WeightedRandomSampler(torch.rand(SIZE).fill_(0.3), SIZE)
    ),
    "a sampler of one's own": lambda: DataLoader(Noisy(), batch_size=BATCH, sampler=Wandering()),
    "batches of one's own": lambda: DataLoader(Noisy(), batch_sampler=BatchSampler(Wandering(), BATCH, False)),
    "no batches": lambda: DataLoader(Noisy(), batch_size=None, shuffle=True),
    "a batch at a time": lambda: DataLoader(AtOnce(), batch_size=BATCH, shuffle=True),
}


@pytest.mark.parametrize("name", LOADERS)
def test_the_middle_of_an_epoch_is_found_again(name: str) -> None:
    make = LOADERS[name]
    whole = epoch(make(), 3)
    for skip in (1, 2, len(whole) - 1, len(whole)):
        assert epoch(make(), 3, skip=skip) == whole[skip:]
    assert epoch(make(), 4) != whole


def of_sampler(types: list[type], kind: Any, **more: Any) -> DataLoader:
    return DataLoader(Strict(types), BATCH, sampler=Naming(kind, None), **more)


def of_batches(types: list[type], kind: Any, **more: Any) -> DataLoader:
    return DataLoader(Strict(types), batch_sampler=Naming(kind, BATCH), **more)


def at_once(types: list[type], kind: Any, **more: Any) -> DataLoader:
    return DataLoader(StrictAtOnce(types), batch_sampler=Naming(kind, BATCH), **more)


def alone(types: list[type], kind: Any, **more: Any) -> DataLoader:
    return DataLoader(Strict(types), batch_size=None, sampler=Naming(kind, None), **more)


KINDS: dict[str, tuple[Any, Any, type]] = {
    "integers of NumPy": (of_sampler, np.int64, np.int64),
    "tensors": (of_sampler, torch.tensor, torch.Tensor),
    "tuples": (of_sampler, lambda index: (index, "left"), tuple),
    "strings": (of_sampler, lambda index: f"k{index}", str),
    "objects": (of_sampler, Named, Named),
    "arrays of a batch": (of_batches, np.array, np.int64),
    "tensors of a batch": (of_batches, torch.tensor, torch.Tensor),
    "tuples of a batch": (of_batches, tuple, int),
    "lists of integers of NumPy": (of_batches, lambda batch: list(np.array(batch)), np.int64),
    "arrays for a dataset that loads at once": (at_once, np.array, np.ndarray),
    "tensors for a dataset that loads at once": (at_once, torch.tensor, torch.Tensor),
    "integers of NumPy, no batches": (alone, np.int64, np.int64),
    "tuples, no batches": (alone, lambda index: (index, "left"), tuple),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_dataset_gets_what_its_sampler_gives(name: str) -> None:
    make, kind, expected = KINDS[name]
    types: list[type] = []
    whole = epoch(make(types, kind), 3)
    assert set(types) == {expected}
    torch.manual_seed(8)
    assert epoch(make(types, kind), 3, skip=2) == whole[2:]
    assert len({str(batch[1:]) for batch in whole}) == len(whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_workers_get_it_too(name: str) -> None:
    make, kind, _ = KINDS[name]
    assert epoch(make([], kind, num_workers=1), 3, skip=2) == epoch(make([], kind), 3)[2:]


def test_batches_before_the_middle_are_not_loaded() -> None:
    class Counting(Noisy):
        loaded = 0

        def __getitem__(self, index: int) -> Any:
            Counting.loaded += 1
            return super().__getitem__(index)

    epoch(DataLoader(Counting(), batch_size=BATCH, shuffle=True), 0, skip=4)
    assert Counting.loaded == SIZE - 4 * BATCH


REPEATING = {
    "weighted": lambda: WeightedRandomSampler([1.0] + [0.0] * (SIZE - 1), SIZE),
    "more samples than there are": lambda: RandomSampler(range(5), num_samples=SIZE),
    "indices that repeat": lambda: SubsetRandomSampler([1, 2] * (SIZE // 2)),
}


@pytest.mark.parametrize("name", REPEATING)
def test_a_sample_that_comes_twice_is_drawn_for_twice(name: str) -> None:
    loader = DataLoader(Noisy(), batch_size=BATCH, sampler=REPEATING[name]())
    samples = [sample for batch in epoch(loader, 0) for sample in zip(*batch, strict=True)]
    assert len(samples) == SIZE > 2 * len({sample[0] for sample in samples})
    assert len({sample[1] for sample in samples}) == SIZE


class Stream(torch.utils.data.IterableDataset):
    """A stream whose samples draw."""

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return ((index, float(torch.rand(()))) for index in range(SIZE))


SHORT = {
    **{name: LOADERS[name] for name in LOADERS if name != "in order"},
    "for several processes": lambda: DataLoader(
        Noisy(), batch_size=BATCH, sampler=DistributedSampler(Noisy(), num_replicas=2, rank=0)
    ),
    "a stream": lambda: DataLoader(Stream(), batch_size=BATCH),
}


def ways(loaders: list[DataLoader], *, twice: bool) -> list[Any]:
    """The batches of some loaders of an epoch, each once, or each twice."""
    taken = Loaders()
    taken.take(loaders)
    loads = loaders * (2 if twice else 1)
    given = [[[torch.as_tensor(part).tolist() for part in batch] for batch in loader] for loader in loads]
    taken.release()
    return given


@pytest.mark.parametrize("name", SHORT)
def test_a_loader_that_cycles_within_an_epoch_has_other_numbers_each_time(name: str) -> None:
    make = SHORT[name]
    first, again = ways([make()], twice=True)
    assert first != again
    assert ways([make()], twice=True) == [first, again]
    if name not in ("a stream", "a batch at a time"):  # whose samples do not tell the order
        order, order_again = ([batch[0] for batch in cycle] for cycle in (first, again))
        assert order != order_again


@pytest.mark.parametrize("name", SHORT)
def test_loaders_of_one_dataset_have_numbers_of_their_own(name: str) -> None:
    make = SHORT[name]
    first, second = ways([make(), make()], twice=False)
    assert first != second
    assert ways([make()], twice=False) == [first]  # whatever stands beside it
    loader = make()
    assert ways([loader, loader], twice=False)[0] == first


def test_whoever_else_iterates_draws_as_from_any_loader() -> None:
    loader, loaders = shuffled(), Loaders()
    whole = epoch(shuffled(), 0, seed=0)
    loaders.take([loader])
    with loaders.iterated():
        of_loop = iter(loader)
    [first] = [batch[0].tolist() for batch in iter(loader)][:1]
    torch.manual_seed(4)
    others = [batch[0].tolist() for batch in loader]
    torch.manual_seed(4)
    assert others == [batch[0].tolist() for batch in shuffled()]
    assert first != whole[0][0]
    assert [batch[0].tolist() for batch in of_loop] == [batch[0] for batch in whole]


def test_the_loader_is_given_back_as_it_was() -> None:
    loader = shuffled()
    before = loader.batch_sampler
    epoch(loader, 0)
    assert loader.batch_sampler is before


def test_what_draws_nothing_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = TensorDataset(torch.arange(SIZE), torch.arange(SIZE))
    assert draws_nothing(data)
    assert draws_nothing(torch.utils.data.Subset(data, range(3)))
    assert draws_nothing(torch.utils.data.ConcatDataset([data, data]))
    assert not draws_nothing(Noisy())
    assert not draws_nothing(torch.utils.data.Subset(Noisy(), range(3)))
    calls = []
    monkeypatch.setattr("lighter.trainer.resume.sample_keys.seed_all", lambda *_: calls.append(1))
    epoch(DataLoader(data, batch_size=BATCH, shuffle=True), 0)
    assert not calls
    epoch(DataLoader(Noisy(), batch_size=BATCH, shuffle=True), 0)
    assert calls


@pytest.mark.slow
def test_random_transforms_of_monai_are_keyed_too() -> None:
    monai = pytest.importorskip("monai")
    transform = monai.transforms.Compose([monai.transforms.RandGaussianNoise(1.0), monai.transforms.RandFlip(0.5)])
    images = [torch.full((1, 3, 3), float(index)) for index in range(SIZE)]

    def make(**more: Any) -> DataLoader:
        data = torch.utils.data.Subset(monai.data.Dataset(images, transform), range(SIZE))
        return monai.data.DataLoader(data, batch_size=BATCH, shuffle=True, **more)

    whole = epoch(make(), 1)
    assert epoch(make(), 1, skip=3) == whole[3:]
    assert epoch(make(num_workers=2), 1) == whole
    assert epoch(make(), 2) != whole


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self) -> Iterator[int]:
        return iter(range(SIZE))


class OwnIterable:
    def __iter__(self) -> Iterator[int]:
        return iter(range(SIZE))


@pytest.mark.parametrize(
    ("loaders", "choice"),
    [
        ([shuffled()], "exact"),
        ([[1, 2, 3]], "exact"),
        ([shuffled(), shuffled()], "exact"),
        ([DataLoader(Endless())], "from the epoch's start (an iterable dataset without state)"),
        ([OwnIterable()], "from the epoch's start (a OwnIterable without state_dict and load_state_dict)"),
        ([shuffled(), DataLoader(Endless())], "from the epoch's start (an iterable dataset without state)"),
    ],
)
def test_how_a_fit_resumes_is_said(loaders: list[Any], choice: str) -> None:
    taken = Loaders()
    taken.take(loaders)
    assert str(taken.choice) == choice
