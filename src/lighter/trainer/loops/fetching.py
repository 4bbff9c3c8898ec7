"""The next batch of a training epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytorch_lightning.loops.fetchers import _PrefetchDataFetcher
from pytorch_lightning.utilities.combined_loader import _MaxSizeCycle


def plan_fetch(fetcher: Any) -> Callable[[], Any]:
    """What gives the batches of an epoch that has begun, one at each call, and raises StopIteration after the last.

    Where there is one loader of known length, it is asked at once. Lightning's way leads through four iterators that
    look for other loaders, and for a length, at each step; what they count is counted here too.
    """
    combined: Any = fetcher.combined_loader
    cycle: Any = combined._iterator  # private, as the fetchers are
    is_nested = combined.flattened[0] is not combined.iterables  # a loader in a list or dict
    is_plain = (
        type(fetcher) is _PrefetchDataFetcher
        and fetcher.length is not None
        and fetcher.iterator is combined
        and type(cycle) is _MaxSizeCycle
        and len(cycle.iterators) == 1
        and not is_nested
    )
    return _plain_fetch(fetcher, cycle) if is_plain else lambda: next(fetcher)[0]


def _plain_fetch(fetcher: Any, cycle: Any) -> Callable[[], Any]:
    def fetch() -> Any:
        if fetcher.done:
            raise StopIteration
        try:
            batch = next(cycle.iterators[0])
        except StopIteration:
            cycle._consumed[0] = fetcher.done = True
            raise
        finally:
            fetcher._stop_profiler()  # where a fit draws each step's random numbers anew
        cycle._idx += 1
        fetcher.fetched += 1
        fetcher.done = fetcher.fetched >= fetcher.length
        return batch

    return fetch
