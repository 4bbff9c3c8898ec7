"""The fetchers by which Lightning's loops take batches from dataloaders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytorch_lightning.loops.fetchers import _DataFetcher, _DataLoaderIterDataFetcher, _PrefetchDataFetcher
from pytorch_lightning.utilities.combined_loader import _MaxSizeCycle

from lighter._lightning.unprofiled import next_batch

DataFetcher = _DataFetcher


def takes_iterator(fetcher: DataFetcher) -> bool:
    """Return whether the step takes the iterator of batches (`dataloader_iter`)."""
    return isinstance(fetcher, _DataLoaderIterDataFetcher)


def plan_fetch(fetcher: DataFetcher, after: Callable[[], None]) -> Callable[[], Any]:
    """Return a function that gives the next batch of an epoch that has begun, and raises StopIteration after the last.

    `after` is called after each fetch, in place of the loop's `after_fetch`.
    """
    combined: Any = fetcher.combined_loader
    cycle = combined._iterator
    is_nested = combined.flattened[0] is not combined.iterables  # a loader in a list or dict
    # One loader of known length is asked directly. Lightning's way leads through four iterators that look for other
    # loaders, and for a length, at each step.
    is_plain = (
        type(fetcher) is _PrefetchDataFetcher
        and fetcher.length is not None
        and fetcher.iterator is combined
        and type(cycle) is _MaxSizeCycle
        and len(cycle.iterators) == 1
        and not is_nested
    )
    if not is_plain:
        return lambda: next(fetcher)[0]

    def fetch() -> Any:
        if fetcher.done:
            raise StopIteration
        try:
            batch = next_batch(cycle.iterators[0])
        except StopIteration:
            # here and below: what Lightning's iterators count, as its loops read it
            cycle._consumed[0] = fetcher.done = True
            raise
        finally:
            # also after the fetch that finds the end, as Lightning's hook
            after()
        cycle._idx += 1
        fetcher.fetched += 1
        fetcher.done = fetcher.fetched >= fetcher.length  # type: ignore[operator]
        return batch

    return fetch
