"""The share of data that divides itself by data ranks, in this process and in workers of its dataloader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from torch.utils.data import DataLoader

from lighter.parallel.ranks import DataRanks, data_rank, data_size, set_data_ranks
from tests.parallel.streams import Share

GROUP: Any = None  # which is asked for nothing here


@pytest.fixture
def second_of_three() -> Iterator[None]:
    set_data_ranks(DataRanks(1, 3, GROUP, 2))
    yield
    set_data_ranks(None)


def share(context: str | None) -> list[list[int]]:
    workers = {"num_workers": 2, "multiprocessing_context": context} if context else {}
    return [batch.tolist() for batch in DataLoader(Share(24), batch_size=2, **workers)]


@pytest.mark.usefixtures("second_of_three")
@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_worker_has_the_data_rank_of_its_process(context: str) -> None:
    assert share(None) == [[1, 4], [7, 10], [13, 16], [19, 22]]
    # the first worker of this process is the third of six
    assert share(context) == [[2, 8], [3, 9], [14, 20], [15, 21]]


@pytest.mark.usefixtures("second_of_three")
def test_another_program_of_this_one_has_its_own_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (data_rank(5), data_size(6)) == (1, 3)
    with monkeypatch.context() as patch:
        patch.setattr("lighter.parallel.ranks._current", [])  # as it is where the environment alone was inherited
        assert (data_rank(5), data_size(6)) == (5, 6)
        assert (data_rank(), data_size()) == (0, 1)


@pytest.mark.slow
def test_a_worker_of_another_program_has_its_own_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTER_DATA_RANK", f"{os.getppid()}/1/3")
    assert sorted(sample for batch in share("spawn") for sample in batch) == list(range(24))


def test_one_process_has_all() -> None:
    assert sorted(sample for batch in share("fork") for sample in batch) == list(range(24))
    assert (data_rank(5), data_size(6)) == (5, 6)


def test_one_of_several_processes_that_does_not_know_its_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for ask in (data_rank, data_size):
        with pytest.raises(RuntimeError, match="Fork the workers"):
            ask()
