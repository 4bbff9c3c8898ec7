"""The rest of an epoch, dealt to another number of processes."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, RandomSampler, WeightedRandomSampler

from lighter.trainer.resume.dealing import batches_of, continued, deal, dealt_until, order_of, resharded
from tests.trainer.resume.test_dataloaders import Fitted, Noisy, fit

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
]
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
    dealt = [deal(dealt_until({"orders": [order]}, 2), one, 1, KEY).batches for one in after]
    assert sorted([*trained, *(sample for one in dealt for batch in one for sample in batch)]) == list(range(20))


def loaders_of(count: int, size: int, samples: int, *, drops: bool) -> list[DataLoader]:
    data: Any = range(samples)
    samplers: list[Any] = [DistributedSampler(data, count, rank, seed=5) for rank in range(count)]
    for sampler in samplers:
        sampler.set_epoch(1)
    samplers = samplers if count > 1 else [RandomSampler(data)]
    return [DataLoader(data, batch_sampler=BatchSampler(sampler, size, drops)) for sampler in samplers]


def trained_over(starts: Sequence[tuple[int, int]], size: int, samples: int, *, drops: bool = False) -> list[int]:
    """Train an epoch by starts on so many processes, of so many batches each; the last one ends it."""
    (count, batches), *more = starts
    loaders = loaders_of(count, size, samples, drops=drops)
    torch.manual_seed(int.from_bytes(KEY[:8], "little"))
    trained = [s for one in loaders for batch in itertools.islice(one.batch_sampler, batches) for s in batch]  # type: ignore[arg-type]
    saved: dict[str, Any] = {"orders": [order_of(loaders[0])]}
    counted, before = min(batches, len(loaders[0])), count
    for now, batches in more:
        loaders = loaders_of(now, size, samples, drops=drops)
        resume = deal if now != before else continued
        deals = [resume(dealt_until(saved, counted), one, 1, KEY) for one in loaders]
        [steps] = {len(one.batches) for one in deals}
        assert all(one.dealt == deals[0].dealt for one in deals)
        trained += [sample for one in deals for batch in one.batches[:batches] for sample in batch]
        # whatever was dealt, the epoch ends at its usual last batch
        counted = len(loaders[0]) - steps + min(batches, steps)
        saved, before = {"orders": [order_of(loaders[0])], "dealt": deals[0].dealt}, now
    return trained


ALL = 10**6
STARTS = [
    [(2, 2), (1, 3), (1, ALL)],
    [(2, 2), (1, 3), (2, ALL)],
    [(4, 1), (2, 1), (1, ALL)],
    [(4, 1), (2, 1), (2, 1), (2, ALL)],
    [(1, 3), (3, 1), (3, 1), (2, 1), (1, 1), (4, ALL)],
    [(2, 0), (3, 0), (3, 2), (1, ALL)],
    [(2, 2), (4, ALL), (1, ALL)],  # nothing is left
]


@pytest.mark.parametrize("starts", STARTS, ids=lambda starts: "-".join(str(count) for count, _ in starts))
def test_an_epoch_that_is_interrupted_more_than_once_has_each_sample_once(starts: list[tuple[int, int]]) -> None:
    for samples in (24, 48, 52):
        assert sorted(trained_over(starts, 2, samples)) == list(range(samples))


def test_near_the_end_some_processes_have_smaller_batches_than_others() -> None:
    for samples, size, batches in itertools.product(range(8, 40), (2, 3), range(8)):
        for last in (1, 2, 4):
            trained = trained_over([(1, 1), (3, batches), (last, ALL)], size, samples)
            # fewer samples than processes come twice
            assert set(trained) == set(range(samples)), (samples, size, batches)
            assert len(trained) - samples < max(last, 3), (samples, size, batches)


def test_with_full_batches_alone_no_sample_comes_twice() -> None:
    for samples, batches in itertools.product(range(24, 40), range(4)):
        trained = trained_over([(2, 2), (1, batches), (2, 1), (1, ALL)], 3, samples, drops=True)
        assert len(set(trained)) == len(trained)
        assert len(trained) % 3 == 0
        assert samples - len(trained) < 2 * 3 + 3  # two starts on two processes leave some out


SAMPLES = 24


def one_process() -> DataLoader:
    return DataLoader(Noisy(SAMPLES), 2, shuffle=True)


def as_of(count: int, path: Path, **process: Any) -> Path:
    """Rewrite a checkpoint as if `count` processes had saved it."""
    checkpoint = torch.load(path, weights_only=True)
    saved = checkpoint["loops"]["fit_loop"]["state_dict"]["lighter"]
    saved["processes"] = [{**saved["processes"][0], **process} for _ in range(count)]
    torch.save(checkpoint, path)
    return path


def distributed_order(count: int) -> Any:
    sampler: Any = DistributedSampler(range(SAMPLES), count, 0)  # type: ignore[arg-type,var-annotated]
    return order_of(DataLoader(range(SAMPLES), batch_sampler=BatchSampler(sampler, 2, drop_last=False)))  # type: ignore[arg-type]


def samples_of(fitted: Fitted, epoch: int, until: int | None = None) -> list[int]:
    return [sample for number, _, leaves in fitted.served[:until] if number == epoch for sample in leaves[0]]


def test_a_fit_of_two_processes_and_then_twice_of_one(tmp_path: Path) -> None:
    order = distributed_order(2)
    sampler: Any = DistributedSampler(range(SAMPLES), 1, 0)  # type: ignore[arg-type,var-annotated]
    trained = list(sampler)[:12]  # 3 batches of 2 by each
    path, _ = fit(one_process(), keep=tmp_path, max_epochs=1).kept[2]
    folder = tmp_path / "second"
    folder.mkdir()
    second = fit(one_process(), path=as_of(2, path, orders=[order]), keep=folder, max_epochs=2)
    assert second.choice == "exact in its samples (1 processes now, 2 then)"
    assert sorted([*trained, *samples_of(second, 0)]) == list(range(SAMPLES))
    for again, before in second.kept[:6]:
        third = fit(one_process(), path=again, max_epochs=2)
        assert third.choice == "exact"
        assert third.served == second.served[before:]
        assert third.weights == second.weights
        assert sorted(samples_of(third, 1)) == list(range(SAMPLES))


def test_a_fit_of_four_processes_then_two_then_one(tmp_path: Path) -> None:
    trained = list(DistributedSampler(range(SAMPLES), 1, 0))[:8]  # type: ignore[arg-type,var-annotated]
    first = dealt_until({"orders": [distributed_order(4)]}, 1)
    samplers: list[Any] = [DistributedSampler(range(SAMPLES), 2, rank) for rank in range(2)]  # type: ignore[arg-type,var-annotated]
    deals = [deal(first, loader(sampler), 0, KEY) for sampler in samplers]
    for one in deals:
        trained += [sample for batch in one.batches[:2] for sample in batch]
    counted = deals[0].dealt["counted"] + 2
    path, _ = fit(one_process(), keep=tmp_path, max_epochs=1).kept[counted - 1]
    process = {"orders": [distributed_order(2)], "dealt": deals[0].dealt}
    third = fit(one_process(), path=as_of(2, path, **process), max_epochs=1)
    assert third.choice == "exact in its samples (1 processes now, 2 then)"
    assert sorted([*trained, *samples_of(third, 0)]) == list(range(SAMPLES))


def test_what_was_dealt_is_not_continued_with_other_data(tmp_path: Path) -> None:
    path, _ = fit(one_process(), keep=tmp_path, max_epochs=1).kept[2]
    folder = tmp_path / "second"
    folder.mkdir()
    again, _ = fit(one_process(), path=as_of(2, path, orders=[distributed_order(2)]), keep=folder, max_epochs=1).kept[1]
    third = fit(DataLoader(Noisy(SAMPLES - 1), 2, shuffle=True), path=again, max_epochs=1)  # as many batches
    assert third.choice.startswith("from the epoch's start (the epoch was dealt to other processes before")
    assert sorted(samples_of(third, 0)) == list(range(SAMPLES - 1))


def test_the_order_of_one_process_is_found_again() -> None:
    one = loader(RandomSampler(range(20)))
    order = order_of(one)
    torch.manual_seed(int.from_bytes(KEY[:8], "little"))
    drawn = list(one.batch_sampler)  # type: ignore[arg-type]
    assert order is not None
    assert deal(dealt_until({"orders": [order]}, 3), one, 0, KEY).batches == drawn[3:]


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
