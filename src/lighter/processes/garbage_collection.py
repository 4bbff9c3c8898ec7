"""Python's garbage collector, kept quiet while much is made that stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """No garbage collections while this lasts.

    The collector goes through everything again and again while it grows, and finds nothing: that doubles the time of
    reading a large tree, and makes a third of that of importing Lightning.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
