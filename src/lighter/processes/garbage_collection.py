"""Disable garbage collection during bulk allocation."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Disable the collector for a while, for allocations that stay."""
    # It would scan the growing heap repeatedly and find nothing, which doubles the time of reading a large tree, and is
    # a third of the time of importing Lightning.
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
