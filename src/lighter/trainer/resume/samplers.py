"""The order of samples and their augmentation, as functions of the seed, the epoch and the sample.

A `DataLoader` takes the indices of each batch from its batch sampler, and hands them to whoever loads the samples:
itself, or one of its workers. `KeyedBatches` replaces the batch sampler. It seeds the drawing of the order, skips the
batches that were trained before, and hands over indices that seed the generators when somebody takes them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
)

from lighter.parts.collate import collate_with_none
from lighter.trainer.batch_indexing import can_index, consists_of, in_tensors
from lighter.trainer.resume.dealing import Deal
from lighter.trainer.resume.random_keys import BATCH, ORDER, SAMPLE, key_of, seed_all
from lighter.trainer.resume.sample_keys import HasRandomState, KeyedIndex, KeyedIndices, seed_sample, with_own_state

# those that draw from a global generator at most once, when they begin, and from torch's
DRAW_AT_ONCE = {RandomSampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler, DistributedSampler}
DRAW_NOTHING = {default_collate, default_convert, collate_with_none}
_END = object()


class Clock(Protocol):
    """Knows the number of the epoch; the loop over epochs does."""

    @property
    def epoch(self) -> int: ...


class Place:
    """The position at which the loaders of a loop begin their next iteration."""

    def __init__(self) -> None:
        # the rank is for what is not of one sample alone
        self.seed, self.rank, self.epoch = 0, 0, 0
        # knows the number of the epoch
        self.clock: Clock = self
        # an epoch, and how many batches of it were trained before
        self.trained = (0, 0)
        # the rest of an epoch that other processes began
        self.deal: Deal | None = None
        # whether the loop itself iterates; anybody else draws from the global generators, as from any loader
        self.in_loop = True
        # how many iterations the epoch has begun, by the loader's number
        self.begun: dict[int, int] = {}
        # is called before the generators of this process are seeded for samples
        self.before_seeding: Callable[[], None] | None = None
        # is called before samplers are asked for the order of an epoch
        self.before_order: Callable[[], None] | None = None

    def skip(self, epoch: int) -> int:
        """Return how many batches of an epoch to leave out."""
        return self.trained[1] if self.trained[0] == epoch else 0

    def begin(self, loader: int) -> Iteration:
        """Begin an iteration of a loader, by its number."""
        if not self.begun and self.before_order is not None:
            self.before_order()
        iteration = self._next(loader)
        self.begun[loader] = iteration.repeat + 1
        return iteration

    def begin_workers(self, loader: int) -> None:
        """Seed the workers of a loader that cycles; the loop does so at the start of the epoch."""
        iteration = self._next(loader)
        if iteration.repeat:
            torch.default_generator.manual_seed(int.from_bytes(iteration.key(ORDER)[8:], "little"))

    def _next(self, loader: int) -> Iteration:
        return Iteration(self.seed, self.clock.epoch, loader, self.begun.get(loader, 0))


class Iteration(NamedTuple):
    """One iteration over a loader in an epoch, and the keys of its random numbers."""

    seed: int
    epoch: int
    # the loader's number among those of the epoch
    loader: int
    # how many iterations of that loader the epoch had before: a short one cycles beside a long one
    repeat: int

    def key(self, purpose: int) -> bytes:
        """Return the key of a purpose: by seed and epoch alone, but for cycles and further loaders."""
        which = (self.loader, self.repeat) if self.loader or self.repeat else ()
        return key_of(self.seed, purpose, self.epoch, *which)


class Keyed:
    """Replaces the batch sampler of a dataloader; that of an iterable dataset seeds each batch."""

    def __init__(self, inner: Any, loader: DataLoader) -> None:
        # the loader's own; where it makes no batches, its sampler
        self.inner = inner
        # where an iteration begins
        self.place: Place | None = None
        # of the loader among those of the place
        self.number = 0
        self.loads_here = loader.num_workers == 0

    def __len__(self) -> int:
        return len(self.inner)

    def __iter__(self) -> Iterator[Any]:
        # persistent workers keep this object after the loader has its own again
        if self.place is None or not self.place.in_loop:
            return iter(self.inner)
        self.place.begin_workers(self.number)
        return self._batches(self.place)

    def _batches(self, place: Place) -> Iterator[Any]:
        samples = place.begin(self.number).key(SAMPLE)
        for number, turn in enumerate(self.inner):
            key = key_of(samples, BATCH, place.rank, number)
            self._seed_here(place, key)
            yield KeyedIndices(turn if isinstance(turn, list) else [turn], key)

    def _seed_here(self, place: Place, key: bytes, own_states: Sequence[HasRandomState] = ()) -> None:
        """Seed the generators if samples are loaded in this process."""
        # workers do so when the indices arrive
        if self.loads_here:
            if place.before_seeding is not None:
                place.before_seeding()
            seed_sample(key, own_states)


class KeyedBatches(Keyed):
    """Replaces that of any other dataset, whose order and samples are functions of the seed and the epoch."""

    def __init__(self, inner: Any, loader: DataLoader) -> None:
        super().__init__(inner, loader)
        self.sampler = inner.sampler if isinstance(inner, BatchSampler) and hasattr(inner, "sampler") else inner
        self.draws_at_once = type(inner) in (BatchSampler, type(self.sampler)) and type(self.sampler) in DRAW_AT_ONCE
        self.is_random = not (draws_nothing(loader.dataset) and loader.collate_fn in DRAW_NOTHING)
        self.own_states = with_own_state(loader.dataset) if self.loads_here else []
        self.may_repeat = not self.draws_at_once or may_repeat(self.sampler)
        self.makes_batches = loader.batch_sampler is not None
        self.draws = in_tensors(inner) if self.loads_here and can_index(loader) else inner
        self.loads_at_once = bool(getattr(loader.dataset, "__getitems__", None))

    def __getattr__(self, name: str) -> Any:
        # a copy has no `inner` before it is filled; the inner one's state would not say where this one is
        if name in ("inner", "state_dict", "load_state_dict"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    def _batches(self, place: Place) -> Iterator[Any]:
        iteration = place.begin(self.number)
        skip = 0 if iteration.repeat else place.skip(iteration.epoch)
        self._set_epoch(iteration)
        is_dealt = place.deal is not None and place.deal.epoch == iteration.epoch and not iteration.repeat
        if place.deal is not None and is_dealt:
            batches: Iterator[Any] = iter(place.deal.batches)
        else:
            batches = islice(self._drawn(iteration.key(ORDER)), skip, None)
        if not self.is_random:
            yield from batches
            return
        samples = iteration.key(SAMPLE)
        for number, indices in enumerate(batches, start=skip):
            yield self._keyed(place, indices, samples, key_of(samples, BATCH, place.rank, number))

    def _set_epoch(self, iteration: Iteration) -> None:
        """Tell the samplers the epoch."""
        samplers: list[Any] = [self.inner, self.sampler]
        for sampler in samplers:
            if callable(getattr(sampler, "set_epoch", None)):
                # a `DistributedSampler` draws by nothing else, so a cycle is another number
                is_cycle = iteration.repeat and isinstance(sampler, DistributedSampler)
                sampler.set_epoch(int.from_bytes(iteration.key(ORDER)[:4], "little") if is_cycle else iteration.epoch)

    def _drawn(self, order: bytes) -> Iterator[Any]:
        """Yield the indices of the epoch's batches, whose drawing nothing else can disturb."""
        seed = int.from_bytes(order[:8], "little")
        generator = getattr(self.sampler, "generator", None)
        # such a sampler draws from nothing else
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed)
        if self.draws_at_once:
            torch.default_generator.manual_seed(seed)
            yield from self.draws
        else:
            yield from _drawn_apart(self.inner, order)

    def _keyed(self, place: Place, indices: Any, samples: bytes, batch: bytes) -> Any:
        """Have the generators seeded for each sample, by the keys of the epoch's `samples` and of the `batch`."""
        if isinstance(indices, list) or (self.makes_batches and not self.loads_at_once):
            self._seed_here(place, batch)
            # a sample that may come twice in an epoch is keyed by its place in the batch
            within = batch if self.may_repeat else samples
            return KeyedIndices(indices, batch, within, self.may_repeat, self.own_states)
        # an index of one sample, or an array or a tuple of them for a dataset that may want just that
        key = key_of(batch if self.may_repeat or self.makes_batches else samples, indices)
        self._seed_here(place, key, self.own_states)
        return indices if self.loads_here else KeyedIndex(indices, key)


def _drawn_apart(sampler: Iterable[Any], key: bytes) -> Iterator[Any]:
    """Yield from a user's sampler, as if nobody else drew from the global generators."""
    batches, own = None, None
    while True:
        # such a sampler may draw at any batch
        others = _states()
        try:
            if batches is None or own is None:
                seed_all(key)
                batches = iter(sampler)
            else:
                _set_states(*own)
            indices = next(batches, _END)
        finally:
            own = _states()
            _set_states(*others)
        if indices is _END:
            return
        yield indices


def _states() -> tuple[Tensor, tuple[Any, ...], dict[str, Any]]:
    return torch.default_generator.get_state(), random.getstate(), np.random.get_state(legacy=False)


def _set_states(of_torch: Tensor, of_python: tuple[Any, ...], of_numpy: dict[str, Any]) -> None:
    torch.default_generator.set_state(of_torch)
    random.setstate(of_python)
    np.random.set_state(of_numpy)


def draws_nothing(dataset: object) -> bool:
    """Return whether a dataset is known to give the same sample whenever it is asked."""
    # for such a dataset nothing is seeded
    return consists_of(dataset, (TensorDataset, list, tuple, Tensor))


def may_repeat(sampler: object) -> bool:
    """Return whether an epoch may have a sample twice."""
    # a sample that comes twice is not to be augmented the same way twice
    if type(sampler) is SubsetRandomSampler:
        return len(set(map(int, sampler.indices))) < len(sampler.indices)
    if type(sampler) is RandomSampler and sampler.num_samples > len(sampler.data_source):
        return True
    return type(sampler) is WeightedRandomSampler or bool(getattr(sampler, "replacement", False))
