"""Indices that seed the generators for each sample, in this process or in a worker of a dataloader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from torch.utils.data import get_worker_info

from lighter.trainer.resume.random_keys import key_of, seed_all


class HasRandomState(Protocol):
    """A dataset or transform with a random state of its own, as MONAI's have."""

    def set_random_state(self, seed: int) -> Any: ...


class KeyedIndices(list):
    """The indices of a batch. Each seeds the generators when it is taken, and the batch when it arrives in a worker.

    `batch` is its key. `samples` is the key within which each sample is keyed by its index, and if `is_numbered` by its
    number in the batch too; None if samples are not seeded. `own_states` are those of the dataset, if samples are
    loaded in this process.
    """

    def __init__(
        self,
        indices: Any,
        batch: bytes,
        samples: bytes | None = None,
        is_numbered: bool = False,
        own_states: Sequence[HasRandomState] = (),
    ) -> None:
        super().__init__(indices)
        self.indices, self.batch, self.samples, self.is_numbered = indices, batch, samples, is_numbered
        self.own_states = own_states

    def __iter__(self) -> Iterator[Any]:
        for number, index in enumerate(super().__iter__()):
            if self.samples is not None:
                key = key_of(self.samples, index, number) if self.is_numbered else key_of(self.samples, index)
                seed_sample(key, self.own_states)
            yield index

    def __reduce__(self) -> tuple[Any, ...]:
        return _batch_arrives, (self.indices, self.batch, self.samples, self.is_numbered)  # an array goes as one


class KeyedIndex:
    """An index on its way to a worker, where it arrives as it was; the generators are seeded when it does."""

    def __init__(self, index: Any, key: bytes) -> None:
        self.index, self.key = index, key

    def __reduce__(self) -> tuple[Any, ...]:
        return _index_arrives, (self.index, self.key)


def _batch_arrives(indices: Any, batch: bytes, samples: bytes | None, is_numbered: bool) -> KeyedIndices:
    seed_all(batch)  # for datasets that load a batch at a time, and for the collation
    return KeyedIndices(indices, batch, samples, is_numbered, _own_states_of_worker())


def _index_arrives(index: Any, key: bytes) -> Any:
    seed_sample(key, _own_states_of_worker())
    return index


def _own_states_of_worker() -> list[HasRandomState]:
    worker = get_worker_info()
    return with_own_state(worker.dataset) if worker is not None else []


def seed_sample(key: bytes, own_states: Sequence[HasRandomState]) -> None:
    seed_all(key)
    for one in own_states:
        one.set_random_state(seed=int.from_bytes(key[:4], "little"))


def with_own_state(dataset: object) -> list[HasRandomState]:
    """Return the datasets within a dataset, and their transforms, that have a random state of their own."""
    states: list[Any] = []
    while dataset is not None:
        states += [one for one in (dataset, getattr(dataset, "transform", None)) if hasattr(one, "set_random_state")]
        dataset = getattr(dataset, "dataset", None)
    return states
