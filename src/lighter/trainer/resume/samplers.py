"""The order of samples and their augmentation, as functions of the seed, the epoch and the sample.

A `DataLoader` takes the indices of each batch from its batch sampler, and hands them to whoever loads the samples:
itself, or one of its workers. `KeyedBatches` stands in for the batch sampler. It seeds what draws the order, leaves out
the batches that were trained before, and hands over indices that seed the generators when somebody takes them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    get_worker_info,
)

from lighter.parts.collate import collate_with_none
from lighter.trainer.resume.random_keys import BATCH, ORDER, SAMPLE, key_of, seed_all

# those that draw from a global generator at most once, when they begin, and from torch's
DRAW_AT_ONCE = {RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler, DistributedSampler}
_END = object()
DRAW_NOTHING = {default_collate, default_convert, collate_with_none}


class Place:
    """Where a loader's next iteration begins; whoever runs the epochs keeps it.

    Attributes:
        seed: of the fit.
        rank: of the process, for what is not of one sample alone.
        clock: what knows the number of the epoch as its `epoch`; whoever runs the epochs.
        trained: an epoch, and how many batches of it were trained before.
        before_seeding: is called before the generators of this process are seeded for samples.
        before_order: is called before a sampler is asked for the order of an epoch.
        in_loop: whether the loop itself iterates. Anybody else draws from the global generators, as from any loader.
        begun: how many iterations of each loader the epoch has begun, by the loader's number.
    """

    def __init__(self) -> None:
        self.seed, self.rank = 0, 0
        self.clock: Any = self
        self.epoch = 0
        self.trained = (0, 0)
        self.in_loop = True
        self.begun: dict[int, int] = {}
        self.before_seeding: Callable[[], None] = _nobody_asks
        self.before_order: Callable[[], None] = _nobody_asks

    def skip(self, epoch: int) -> int:
        """The batches of an epoch to leave out."""
        return self.trained[1] if self.trained[0] == epoch else 0

    def begin(self, loader: int) -> Iteration:
        """Begin an iteration of a loader, whose number this is."""
        if not self.begun:
            self.before_order()
        repeat = self.begun.get(loader, 0)
        self.begun[loader] = repeat + 1
        return Iteration(self.seed, self.clock.epoch, loader, repeat)

    def begin_workers(self, loader: int) -> None:
        """Seed what the workers of a loader that cycles are seeded with; the loop does so at the start of the epoch."""
        if repeat := self.begun.get(loader, 0):
            key = Iteration(self.seed, self.clock.epoch, loader, repeat).key(ORDER)
            torch.default_generator.manual_seed(int.from_bytes(key[8:], "little"))


class Iteration(NamedTuple):
    """One way through a loader in an epoch.

    Attributes:
        seed: of the fit.
        epoch: its number.
        loader: the loader's number among those of the epoch.
        repeat: how many iterations of that loader the epoch had before: a short one cycles beside a long one.
    """

    seed: int
    epoch: int
    loader: int
    repeat: int

    @property
    def is_first(self) -> bool:
        """Return whether it is the epoch's first of the loader."""
        return not self.repeat

    def key(self, purpose: int) -> bytes:
        """The key of its random numbers: by seed and epoch alone, but for cycles and further loaders."""
        which = (self.loader, self.repeat) if self.loader or self.repeat else ()
        return key_of(self.seed, purpose, self.epoch, *which)


def _nobody_asks() -> None:
    pass


class Keyed:
    """Stands in for the batch sampler of a dataloader.

    Workers that persist keep it when the loader has its own again; without a place, it does what that does.

    Args:
        inner: the loader's own; where it makes no batches, its sampler.
        loader: the loader.

    Attributes:
        place: where an iteration begins.
        number: of the loader among those of the place.
    """

    def __init__(self, inner: Any, loader: DataLoader) -> None:
        self.inner = inner
        self.place: Place | None = None
        self.number = 0
        self.loads_here = loader.num_workers == 0

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Iterator[Any]:
        if self.place is None or not self.place.in_loop:
            return iter(self.inner)
        self.place.begin_workers(self.number)
        return self._batches(self.place)

    def _batches(self, place: Place) -> Iterator[Any]:
        raise NotImplementedError


class KeyedBatches(Keyed):
    """A batch sampler whose order is a function of the seed and the epoch."""

    def __init__(self, inner: Any, loader: DataLoader) -> None:
        super().__init__(inner, loader)
        self.sampler = inner.sampler if isinstance(inner, BatchSampler) and hasattr(inner, "sampler") else inner
        self.draws_at_once = type(inner) in (BatchSampler, type(self.sampler)) and type(self.sampler) in DRAW_AT_ONCE
        self.is_random = not (draws_nothing(loader.dataset) and loader.collate_fn in DRAW_NOTHING)
        self.may_repeat = not self.draws_at_once or may_repeat(self.sampler)
        self.own_states = with_own_state(loader.dataset) if self.loads_here else []
        self.makes_batches = loader.batch_sampler is not None
        self.loads_at_once = bool(getattr(loader.dataset, "__getitems__", None))

    def __getattr__(self, name: str) -> Any:
        if name in ("inner", "state_dict", "load_state_dict"):  # of a copy that is not filled yet; the place is kept
            raise AttributeError(name)
        return getattr(self.inner, name)

    def _batches(self, place: Place) -> Iterator[Any]:
        iteration = place.begin(self.number)
        skip = place.skip(iteration.epoch) if iteration.is_first else 0
        order, samples = iteration.key(ORDER), iteration.key(SAMPLE)
        self._set_epoch(iteration)
        drawn = islice(self._drawn(order), skip, None)
        if not self.is_random:
            yield from drawn
            return
        for number, indices in enumerate(drawn, start=skip):
            if self.loads_here:
                place.before_seeding()
            yield self._keyed(indices, samples, (place.rank, number))

    def _set_epoch(self, iteration: Iteration) -> None:
        """Tell the samplers the epoch; one of torch's that draws by nothing else, another number where it cycles."""
        parts: list[Any] = [self.inner, self.sampler]
        for part in parts:
            if callable(getattr(part, "set_epoch", None)):
                by_epoch = iteration.is_first or not isinstance(part, DistributedSampler)
                part.set_epoch(iteration.epoch if by_epoch else int.from_bytes(iteration.key(ORDER)[:4], "little"))

    def _drawn(self, order: bytes) -> Iterator[Any]:
        """The indices of the epoch's batches, whose drawing nothing else can disturb."""
        seed = int.from_bytes(order[:8], "little")
        generator = getattr(self.sampler, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed)
        if self.draws_at_once:
            torch.default_generator.manual_seed(seed)
            yield from self.inner
            return
        with _Aside(order) as aside:
            batches = iter(self.inner)
        while True:
            with aside:
                indices = next(batches, _END)
            if indices is _END:
                return
            yield indices

    def _keyed(self, indices: Any, samples: bytes, number: tuple[int, int]) -> Any:
        """The indices of a batch, with what its samples are to be seeded with."""
        own = key_of(samples, BATCH, *number)
        if isinstance(indices, list) or (self.makes_batches and not self.loads_at_once):
            if self.loads_here:
                seed_all(own)
            return KeyedIndices(indices, samples, own, self.own_states, may_repeat=self.may_repeat)
        # an index of one sample, or an array or a tuple of them for a dataset that may want just that
        key = key_of(own, indices) if self.may_repeat or self.makes_batches else key_of(samples, indices)
        if self.loads_here:
            seed_sample(key, self.own_states)
            return indices
        return KeyedIndex(indices, key)


class KeyedTurns(Keyed):
    """The same for an iterable dataset, whose batches nobody chooses: each is seeded."""

    def _batches(self, place: Place) -> Iterator[Any]:
        samples = place.begin(self.number).key(SAMPLE)
        for number, turn in enumerate(self.inner):
            key = key_of(samples, BATCH, place.rank, number)
            if self.loads_here:
                place.before_seeding()
                seed_all(key)
            yield KeyedTurn(turn if isinstance(turn, list) else [turn], key)


class KeyedTurn(list):
    """What stands for a batch of an iterable dataset; seeds the generators when a worker gets it."""

    def __init__(self, turn: Any, key: bytes) -> None:
        super().__init__(turn)
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        return _turn_arrived, (list(self), self.key)


def _turn_arrived(turn: list[Any], key: bytes) -> list[Any]:
    seed_all(key)
    return turn


class KeyedIndices(list):
    """The indices of a batch. Each seeds the generators when it is taken, and the batch when a worker gets it.

    Args:
        indices: of the batch.
        samples: the key of the epoch's samples.
        own: the key of the batch.
        own_states: what draws from a random state of its own; see `with_own_state`.
        may_repeat: whether a sample may come twice, and is then keyed by its place in the batch too.
    """

    def __init__(self, indices: Any, samples: bytes, own: bytes, own_states: list[Any], *, may_repeat: bool) -> None:
        super().__init__(indices)
        self.array = indices if isinstance(indices, (np.ndarray, torch.Tensor)) else None  # goes to a worker as one
        self.samples, self.own, self.own_states, self.may_repeat = samples, own, own_states, may_repeat

    def __iter__(self) -> Iterator[Any]:
        for number, index in enumerate(super().__iter__()):
            key = key_of(self.own, index, number) if self.may_repeat else key_of(self.samples, index)
            seed_sample(key, self.own_states)
            yield index

    def __reduce__(self) -> tuple[Any, ...]:
        indices = list(super().__iter__()) if self.array is None else self.array
        return _arrived, (indices, self.samples, self.own, self.may_repeat)


def _arrived(indices: Any, samples: bytes, own: bytes, may_repeat: bool) -> KeyedIndices:
    """In a worker: for datasets that load a batch at a time, and for the collation."""
    seed_all(own)
    return KeyedIndices(indices, samples, own, _own_states_here(), may_repeat=may_repeat)


class KeyedIndex:
    """An index on its way to a worker, where it arrives as it was; the generators are seeded when it does."""

    def __init__(self, index: Any, key: bytes) -> None:
        self.index, self.key = index, key

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived_alone, (self.index, self.key)


def _arrived_alone(index: Any, key: bytes) -> Any:
    seed_sample(key, _own_states_here())
    return index


def _own_states_here() -> list[Any]:
    worker = get_worker_info()
    return with_own_state(worker.dataset) if worker is not None else []


def seed_sample(key: bytes, own_states: list[Any]) -> None:
    """Seed the generators for a sample."""
    seed_all(key)
    for one in own_states:
        one.set_random_state(seed=int.from_bytes(key[:4], "little"))


def with_own_state(dataset: Any) -> list[Any]:
    """A dataset, or its transform, that draws from a random state of its own and lets it be set, as MONAI's do."""
    found, inner = [], dataset
    while inner is not None:
        found += [one for one in (inner, getattr(inner, "transform", None)) if hasattr(one, "set_random_state")]
        inner = getattr(inner, "dataset", None)
    return found


class _Aside:
    """Generators as they are for a sampler of somebody's, which may draw from them at any batch."""

    def __init__(self, key: bytes) -> None:
        self._key: bytes | None = key
        self._own: Any = None
        self._others: Any = None

    def __enter__(self) -> _Aside:
        self._others = _states()
        if self._key is not None:
            seed_all(self._key)
            self._key = None
        else:
            _set_states(self._own)
        return self

    def __exit__(self, *_: object) -> None:
        self._own = _states()
        _set_states(self._others)


def _states() -> tuple[Any, ...]:
    return torch.default_generator.get_state(), random.getstate(), np.random.get_state(legacy=False)


def _set_states(states: tuple[Any, ...]) -> None:
    of_torch, of_python, of_numpy = states
    torch.default_generator.set_state(of_torch)
    random.setstate(of_python)
    np.random.set_state(of_numpy)


def draws_nothing(dataset: Any) -> bool:
    """Whether a dataset is known to give the same sample whenever it is asked: then nothing is seeded for it."""
    if type(dataset) is Subset:
        return draws_nothing(dataset.dataset)
    if type(dataset) is ConcatDataset:
        return all(draws_nothing(part) for part in dataset.datasets)
    return type(dataset) in (TensorDataset, list, tuple, torch.Tensor)


def may_repeat(sampler: Any) -> bool:
    """Whether an epoch may have a sample twice, which is then not augmented the same way twice."""
    if type(sampler) is SubsetRandomSampler:
        return len(set(map(int, sampler.indices))) < len(sampler.indices)
    if type(sampler) is RandomSampler and sampler.num_samples > len(sampler.data_source):
        return True
    return type(sampler) is WeightedRandomSampler or bool(getattr(sampler, "replacement", False))
