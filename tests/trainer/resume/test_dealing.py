"""The rest of an epoch, dealt to another number of processes."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, RandomSampler, WeightedRandomSampler

from lighter.trainer.resume.dealing import batches_of, deal, order_of, resharded

KEY = bytes(range(16))


@pytest.mark.parametrize(("processes", "size"), [*itertools.product((1, 2, 3, 4), (2, 3, 4))])
def test_each_sample_is_dealt_once_and_all_have_as_many_batches(processes: int, size: int) -> None:
    for count in range(processes, 40):
        left = random.Random(count).sample(range(100), count)
        dealt = [batches_of(left, rank, processes, size, drops=False) for rank in range(processes)]
        assert len({len(batches) for batches in dealt}) == 1
        assert all(1 <= len(batch) <= size for batches in dealt for batch in batches)
        assert Counter(sample for batches in dealt for batch in batches for sample in batch) == Counter(left)


def test_fewer_samples_than_processes_come_twice() -> None:
    assert [batches_of([7, 3], rank, 3, 4, drops=False) for rank in range(3)] == [[[7]], [[3]], [[7]]]
    assert batches_of([], 0, 2, 4, drops=False) == []


def test_batches_stay_full_where_the_loader_drops_others() -> None:
    assert [batches_of(range(11), rank, 2, 2, drops=True) for rank in range(2)] == [
        [[0, 2], [4, 6]],
        [[1, 3], [5, 7]],
    ]


def loader(sampler: Any, size: int = 2) -> DataLoader:
    return DataLoader(range(20), batch_sampler=BatchSampler(sampler, size, drop_last=False))  # type: ignore[arg-type]


def distributed(count: int, rank: int) -> DataLoader:
    sampler: Any = DistributedSampler(range(20), count, rank, seed=5)  # type: ignore[arg-type,var-annotated]
    sampler.set_epoch(1)
    return loader(sampler)


@pytest.mark.parametrize(("then", "now"), [(4, 2), (2, 4), (3, 2), (2, 1)])
def test_what_was_trained_and_what_is_dealt_is_the_epoch(then: int, now: int) -> None:
    before = [distributed(then, rank) for rank in range(then)]
    order = order_of(before[0])
    assert order is not None
    trained = [sample for one in before for batch in itertools.islice(one.batch_sampler, 2) for sample in batch]  # type: ignore[arg-type]
    after = [loader(RandomSampler(range(20)))] if now == 1 else [distributed(now, rank) for rank in range(now)]
    dealt = [deal(order, one, 1, 2, KEY).batches for one in after]
    assert sorted([*trained, *(sample for one in dealt for batch in one for sample in batch)]) == list(range(20))


def test_the_order_of_one_process_is_found_again() -> None:
    one = loader(RandomSampler(range(20)))
    order = order_of(one)
    torch.manual_seed(int.from_bytes(KEY[:8], "little"))
    drawn = list(one.batch_sampler)  # type: ignore[arg-type]
    assert order is not None
    assert deal(order, one, 0, 3, KEY).batches == drawn[3:]


def test_an_order_that_is_not_known() -> None:
    assert order_of(loader(WeightedRandomSampler([1.0] * 20, 20))) is None
    assert order_of(loader(RandomSampler(range(20), num_samples=5))) is None
    assert order_of([1, 2]) is None


def test_states_of_another_number_of_processes() -> None:
    def state(rank: int) -> dict[str, Any]:
        measured = {"own": rank, "metrics": {}, "logged": {}, "shown": {}}
        numbers = {"is_needed": rank == 1, "since": 3}
        return {"measured": measured, "numbers": numbers, "gradients": {"w": torch.tensor(float(rank))}, "counts": {}}

    more = resharded([state(0), state(1)], 3, are_over=False)
    assert [one["measured"]["own"] for one in more] == [0, 1, None]
    assert [one["measured"]["own"] for one in resharded([state(0), state(1)], 3, are_over=True)] == [0, 1, 0]
    assert {one["gradients"]["w"].item() for one in more} == {0.5}
    assert all(one["numbers"] == {"is_needed": True, "since": None} for one in more)
