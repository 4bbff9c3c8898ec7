"""Samples of predicted batches, and predictions that begin at a later batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytorch_lightning as pl

from lighter._lightning.versions import IS_TESTED, TESTED, lightning_version
from lighter.errors import PredictionError


def predicted_samples(trainer: pl.Trainer, loader: int, batch: int) -> list[int] | None:
    """Return the indices in the dataset of a batch's samples; None where they are unknown."""
    if not IS_TESTED:
        return None
    # private: Lightning tells the indices only its own `BasePredictionWriter`
    combined: Any = trainer.predict_loop._combined_loader
    seen = seen_indices(combined.flattened[loader])
    if seen is None or batch >= len(seen):
        return None
    if batch:
        # Lightning keeps those of all batches, memory that grows with the samples
        seen[batch - 1] = []
    return list(seen[batch])


def start_predicting_at(
    trainer: pl.Trainer, position: tuple[int, int], written: Sequence[Sequence[int] | None]
) -> None:
    """Let a prediction that is about to start begin at a later batch, without loading the batches before it.

    Args:
        position: the dataloader and its batch; after the last dataloader, nothing is left to do.
        written: the indices in that dataloader's earlier batches, to check that they are unchanged.

    Raises:
        PredictionError: the dataloader gives other batches than it did, or Lightning's version is untested.
    """
    if not IS_TESTED:
        raise PredictionError(
            f"a prediction resumes with Lightning {TESTED} only, and {lightning_version()} is installed"
        )
    loop: Any = trainer.predict_loop
    combined, fetcher = loop._combined_loader, loop._data_fetcher
    sequential, (number, batch) = combined._iterator, position
    number = min(number, len(combined.flattened))
    samplers = [
        loader.batch_sampler for loader in combined.flattened[number : number + 1] if seen_indices(loader) is not None
    ]
    for sampler in samplers:
        sampler._batch_sampler = LaterBatches(sampler, written)
    sequential._iterator_idx, sequential._idx = number, batch if samplers else 0
    sequential._load_current_iterator()
    fetcher.reset()
    # batches of a dataset without indices are loaded: there is no other way past them
    while not samplers and number < len(combined.flattened) and (number, sequential._idx) < position:
        if next(sequential, (None, 0, -1))[2] != number:
            raise PredictionError(f"dataloader {number} gives fewer batches than the {batch} that are written")
    fetcher.fetched = sum(loop.max_batches[:number]) + batch


class LaterBatches:
    """A batch sampler without its first batches."""

    def __init__(self, wrapper: Any, written: Sequence[Sequence[int] | None]) -> None:
        self.wrapper, self.written, self.whole = wrapper, written, wrapper._batch_sampler

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[Any]:
        batches: Iterator[Any] = iter(self.whole)
        for number, samples in enumerate(self.written):
            indices = next(batches, None)
            if indices is None or (samples is not None and list(indices) != list(samples)):
                raise PredictionError(
                    f"batch {number} of the dataloader has other samples than when it was written, so this prediction"
                    " cannot go on: a sampler that shuffles, or data that changed. Start it anew"
                )
            # Lightning finds a batch's indices by its number, so those left out need an entry
            self.wrapper.seen_batch_indices.append([])
        return batches


def seen_indices(loader: Any) -> list[list[int]] | None:
    """Return the indices of the batches that a dataloader has given, if Lightning's wrapper keeps them."""
    seen = getattr(getattr(loader, "batch_sampler", None), "seen_batch_indices", None)
    return seen if isinstance(seen, list) else None
