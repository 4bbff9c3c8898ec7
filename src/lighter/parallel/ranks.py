"""The processes that have data of their own: with tensor parallelism, several processes work on the same batch.

Whatever adds up over processes (losses, metrics, recorded evaluations) adds up over these, and random numbers that are
to differ between batches are keyed by their rank.
"""

from __future__ import annotations

from typing import NamedTuple

from torch.distributed import ProcessGroup


class DataRanks(NamedTuple):
    """The place of this process among those with the same part of the network and other data."""

    rank: int
    size: int
    group: ProcessGroup
    # the number of processes with this process's data
    copies: int


# of the fit that runs, as the default group of `torch.distributed` is: metrics know no trainer
_current: list[DataRanks] = []


def set_data_ranks(ranks: DataRanks | None) -> None:
    """Let all that adds up over processes add up over these; None for all processes."""
    _current[:] = [ranks] if ranks is not None else []


def data_group() -> ProcessGroup | None:
    """Return the group of this process's data ranks; None for all processes, as `torch.distributed` takes it."""
    return _current[0].group if _current else None


def data_rank(rank: int) -> int:
    """Return the rank among those with data of their own, of this process with a `rank` among all."""
    return _current[0].rank if _current else rank


def data_copies() -> int:
    """Return how many processes, whose numbers follow each other, have the same data."""
    return _current[0].copies if _current else 1


def data_size(processes: int) -> int:
    """Return how many of so many processes have data of their own."""
    return _current[0].size if _current else processes
