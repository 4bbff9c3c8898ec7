"""The dataloaders of a trainer and their workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch.utils.data import Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

WorkerIterator = _MultiProcessingDataLoaderIter


class RunningLoader(NamedTuple):
    """A dataloader of a trainer."""

    # as messages call it
    name: str
    loader: Any
    # torch's, over this loader; only those that have workers
    iterators: Sequence[WorkerIterator]

    @property
    def workers(self) -> list[Any]:
        return [worker for iterator in self.iterators for worker in workers_of(iterator)]


class StandIn(Dataset):
    """A dataset that a dataloader loads with in place of its own, `dataset`, in some iterations."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset


def loading_loops(trainer: pl.Trainer) -> list[tuple[str, Any]]:
    """Return the loops that load data, with the name of their split."""
    fit = trainer.fit_loop
    loops = [("train", fit), ("val", fit.epoch_loop.val_loop), ("val", trainer.validate_loop)]
    return [*loops, ("test", trainer.test_loop), ("predict", trainer.predict_loop)]


def forget_unbegun_fetchers(trainer: pl.Trainer) -> None:
    """Drop fetchers whose dataloaders failed to begin, so that Lightning's cleanup does not hide the error."""
    for _, loop in loading_loops(trainer):
        combined = loop._combined_loader  # None after a search for a learning rate
        # a fetcher's `teardown` asks for the length of an iteration that was never begun
        if loop._data_fetcher is not None and (combined is None or combined._iterator is None):
            loop._data_fetcher = None


def running_loaders(trainer: pl.Trainer) -> Iterator[RunningLoader]:
    """Yield the dataloaders that a trainer has set up."""
    for split, loop in loading_loops(trainer):
        combined: CombinedLoader | None = loop._combined_loader
        if combined is None:
            continue
        # private: nothing public tells to which loader a worker belongs
        running = getattr(combined._iterator, "iterators", None) or ()
        for number, loader in enumerate(combined.flattened):
            which = f" {number}" if len(combined.flattened) > 1 else ""
            # persistent workers belong to an iterator that the loader keeps, also while no loop iterates
            candidates = {id(one): one for one in (*running, getattr(loader, "_iterator", None))}.values()
            iterators = [one for one in candidates if iterates_over(one, loader)]
            yield RunningLoader(f"{split} dataloader{which}", loader, iterators)


def iterates_over(iterator: object, loader: object) -> bool:
    """Return whether an iterator with workers has a dataloader's dataset and sampler."""
    return (
        isinstance(iterator, WorkerIterator)
        and _own(iterator._dataset) is _own(getattr(loader, "dataset", None))
        and iterator._index_sampler is getattr(loader, "_index_sampler", None)
    )


def _own(dataset: object) -> object:
    # `BatchIndexing` gives the loader its dataset back at once, and the iterator keeps the other
    return dataset.dataset if isinstance(dataset, StandIn) else dataset


def workers_of(iterator: WorkerIterator) -> list[Any]:
    return iterator._workers


def keeps_workers(iterator: WorkerIterator) -> bool:
    """Return whether the workers stay for the next epoch."""
    return iterator._persistent_workers


def shut_down(iterator: WorkerIterator) -> None:
    iterator._shutdown_workers()
