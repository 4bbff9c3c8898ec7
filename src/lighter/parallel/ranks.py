"""The processes that have data of their own: with tensor parallelism, several processes work on the same batch.

Whatever adds up over processes (losses, metrics, recorded evaluations) adds up over these, and random numbers that are
to differ between batches are keyed by their rank.
"""

from __future__ import annotations

import os
from multiprocessing import parent_process
from typing import NamedTuple

from torch import distributed
from torch.distributed import ProcessGroup
from torch.utils.data import get_worker_info

# spawned workers of dataloaders import all anew: of this process they have the environment alone
_INHERITED = "LIGHTER_DATA_RANK"
_UNKNOWN = (
    "data_rank(), data_size(): without `parallel`, a spawned worker of a dataloader does not know its process's rank."
    " Fork the workers (multiprocessing_context: fork), or call data_rank(rank) and data_size(world_size) with what the"
    " dataset was given."
)


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
    os.environ.pop(_INHERITED, None)
    if ranks is not None:
        os.environ[_INHERITED] = f"{os.getpid()}/{ranks.rank}/{ranks.size}"


def data_group() -> ProcessGroup | None:
    """Return the group of this process's data ranks; None for all processes, as `torch.distributed` takes it."""
    return _current[0].group if _current else None


def data_rank(rank: int | None = None) -> int:
    """Return the rank of this process among those with data of their own; in a worker, that of its dataloader's.

    Args:
        rank: the one without `parallel`; None for that of `torch.distributed`, or 0.
    """
    known = _rank_and_size()
    if known is not None:
        return known[0]
    if rank is None:
        return distributed.get_rank() if _has_processes() else 0
    return rank


def data_copies() -> int:
    """Return how many processes, whose numbers follow each other, have the same data."""
    return _current[0].copies if _current else 1


def data_size(processes: int | None = None) -> int:
    """Return how many processes have data of their own; in a worker too.

    Args:
        processes: how many there are without `parallel`; None for those of `torch.distributed`, or 1.
    """
    known = _rank_and_size()
    if known is not None:
        return known[1]
    if processes is None:
        return distributed.get_world_size() if _has_processes() else 1
    return processes


def _rank_and_size() -> tuple[int, int] | None:
    """Return this process's place among the data ranks, or that of its dataloader's process; None without these."""
    if _current:
        return _current[0].rank, _current[0].size
    parent = parent_process()
    if parent is None or get_worker_info() is None or _INHERITED not in os.environ:
        return None
    process, rank, size = map(int, os.environ[_INHERITED].split("/"))
    # another program that this one has started inherits it too, and has workers of its own
    return (rank, size) if process == parent.pid else None


def _has_processes() -> bool:
    """Return whether `torch.distributed` knows the ranks.

    Raises:
        RuntimeError: this is one of several processes, and which one is not known here.
    """
    if distributed.is_available() and distributed.is_initialized():
        return True
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise RuntimeError(_UNKNOWN)
    return False
