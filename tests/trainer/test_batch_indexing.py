"""Dataloaders over tensors index whole batches in `lighter.Trainer`: the same bits, order and draws."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Subset,
    TensorDataset,
    default_collate,
    get_worker_info,
)
from torch.utils.data._utils.collate import collate_tensor_fn, default_collate_fn_map

from lighter.trainer import batch_indexing
from lighter.trainer.batch_indexing import BatchIndexing, WholeBatches
from tests.slow import one_in
from tests.trainer.indexed_datasets import (
    INDEXED,
    LOADERS,
    ONE_BY_ONE,
    OTHER_LOADERS,
    SIZE,
    WARNINGS,
    assert_same,
    by_size,
    changed,
    described,
    iterated,
    numbers,
    subset,
    tensors,
)

pytestmark = WARNINGS


@pytest.mark.parametrize("samples", [10, 40])
@pytest.mark.parametrize("drop_last", [True, False])
def test_a_dataset_that_grows_or_shrinks_within_a_shuffled_epoch(*, samples: int, drop_last: bool) -> None:
    def batches(*, by_loop: bool) -> list[Any]:
        torch.manual_seed(4)
        dataset = TensorDataset(torch.arange(30))
        loader = DataLoader(dataset, batch_size=8, shuffle=True, drop_last=drop_last)
        with BatchIndexing().begun(CombinedLoader(loader) if by_loop else None):
            iterator = iter(loader)
        seen: list[Any] = [next(iterator)[0].tolist()]
        dataset.tensors = (torch.arange(samples),)
        try:
            seen += [rows.tolist() for (rows,) in iterator]
        except IndexError:
            seen.append("IndexError")
        return [*seen, torch.get_rng_state().tolist()]

    assert batches(by_loop=True) == batches(by_loop=False)


@pytest.mark.parametrize("dataset", one_in(4, INDEXED))
def test_the_same_batches_of_a_loader(dataset: str, loaded: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_indexing, "SAMPLES_PER_PART", 0)
    assert_same(LOADERS, INDEXED[dataset])
    assert loaded["at once"] > 0
    assert not loaded["one by one"]


@pytest.mark.parametrize(("parts", "kind"), [(2, "at once"), (3, "one by one")])
def test_a_batch_of_many_datasets_is_loaded_one_by_one(parts: int, kind: str, loaded: Counter[str]) -> None:
    dataset = ConcatDataset([tensors(20 // parts) for _ in range(parts)])
    assert_same({"all": by_size(batch_size=20)}, lambda: dataset)
    assert loaded == {"at once": 2} if kind == "at once" else {"at once": 2, "one by one": 2}


def test_other_loaders_load_as_ever() -> None:
    assert_same(OTHER_LOADERS, tensors)
    assert_same(OTHER_LOADERS, lambda: subset(list(range(17))))


@pytest.mark.parametrize("dataset", one_in(4, ONE_BY_ONE))
def test_other_datasets_load_as_ever(dataset: str) -> None:
    assert_same(LOADERS, ONE_BY_ONE[dataset])


FAULTY: dict[str, Callable[[], Any]] = {
    "beyond the end": lambda: subset([3, SIZE]),
    "far before the start": lambda: subset([3, -SIZE - 1]),
    "beyond the end of datasets": lambda: Subset(ConcatDataset([tensors(3), tensors(2)]), [0, 5]),
    "before the start of datasets": lambda: Subset(ConcatDataset([tensors(3), tensors(2)]), [0, -6]),
    "an index that is none": lambda: subset([3, "a"]),
    "a number": lambda: Subset(torch.tensor(5.0), [0]),
    "a number too large": lambda: subset([2**70, 3]),
    "a subset that shrank": lambda: changed(subset([1, 2, 3]), __len__=None, indices=[[], [1]]),
    "tensors that shrank": lambda: Subset(changed(tensors(), tensors=(numbers(2)[:2], numbers()[:5])), [4, 3]),
    "sparse": lambda: TensorDataset(numbers(3).to_sparse()),
    "sparse rows": lambda: TensorDataset(numbers(3).to_sparse_csr()),
    "rows of other sizes": lambda: ConcatDataset([numbers(2, size=2), numbers(3, size=2)]),
    "tuples of other sizes": lambda: ConcatDataset([tensors(2), TensorDataset(numbers(4, size=2))]),
    "tuples and tensors": lambda: ConcatDataset([tensors(2), numbers(4, size=2)]),
}


@pytest.mark.parametrize("dataset", FAULTY)
def test_errors_are_torchs(dataset: str) -> None:
    errors = []
    for by_loop in (True, False):
        with pytest.raises(Exception) as caught:
            iterated(lambda: DataLoader(FAULTY[dataset](), batch_size=4), by_loop=by_loop)
        errors.append((caught.type, str(caught.value)))
    assert errors[0] == errors[1]


def test_batches_share_no_memory_with_the_dataset() -> None:
    dataset = tensors()
    loader = DataLoader(dataset, batch_size=SIZE)
    with BatchIndexing().begun(CombinedLoader(loader)):
        iterator = iter(loader)
    next(iterator)[0].zero_()
    assert torch.equal(dataset.tensors[0], tensors().tensors[0])


def test_changes_of_the_dataset_are_seen_within_an_epoch() -> None:
    dataset = subset(list(range(12)))
    loader = DataLoader(dataset, batch_size=4)
    with BatchIndexing().begun(CombinedLoader(loader)):
        iterator = iter(loader)
    next(iterator)
    dataset.indices[4:8] = [0, 0, 0, 0]
    dataset.dataset.tensors = (torch.zeros(SIZE, 1),)
    (rows,) = next(iterator)
    assert torch.equal(rows, torch.zeros(4, 1))
    dataset.dataset = numbers(2)
    assert torch.equal(next(iterator), numbers(2)[8:12])


@pytest.mark.parametrize("kind", [Tensor, tuple, object])
def test_an_extension_of_the_default_collate_is_used(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(default_collate_fn_map, kind, lambda batch, *, collate_fn_map=None: "mine")

    def make() -> DataLoader:
        return DataLoader(tensors(), batch_size=4)

    ours = iterated(make, by_loop=True)
    assert ours == iterated(make, by_loop=False)
    assert "mine" in str(ours)
    assert default_collate_fn_map[Tensor] is not collate_tensor_fn or kind is not Tensor


def sees_dataset(worker: int) -> None:
    """A worker's init function."""
    dataset: Any = get_worker_info().dataset  # type: ignore[union-attr]
    dataset.tensors = (torch.zeros(SIZE),)


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"persistent_workers": True}, {"worker_init_fn": sees_dataset}], ids="".join)
def test_workers(more: dict[str, Any]) -> None:
    def make() -> DataLoader:
        return DataLoader(tensors(), batch_size=4, shuffle=True, num_workers=2, **more)

    assert iterated(make, by_loop=True) == iterated(make, by_loop=False)


def test_what_workers_get_can_be_sent_to_spawned_ones() -> None:
    loader = DataLoader(subset([3, 4]), num_workers=1)
    with BatchIndexing().begun(CombinedLoader(loader)):
        whole, collate_fn = pickle.loads(pickle.dumps((loader.dataset, loader.collate_fn)))
    assert type(whole) is WholeBatches
    assert described(collate_fn(whole.__getitems__([1, 0]))) == described(
        default_collate([loader.dataset[1], loader.dataset[0]])
    )


# In fits
