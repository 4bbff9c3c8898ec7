"""Data that divides itself by process, light to import: spawned workers of dataloaders do so anew."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from torch.utils.data import IterableDataset, get_worker_info

from lighter.parallel.ranks import data_rank, data_size


class Share(IterableDataset):
    """Yield this process's and this worker's share of the numbers below `samples`."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __iter__(self) -> Iterator[int]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        first, step = data_rank() * workers + number, data_size() * workers
        return islice(iter(range(self.samples)), first, None, step)
