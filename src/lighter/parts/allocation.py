"""Allocate memory for tensors that are written as a whole, in torch's deterministic mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.utils.deterministic


@contextmanager
def unfilled_memory() -> Iterator[None]:
    """Let torch leave new memory as it is; also a decorator.

    In deterministic mode torch fills what it allocates, which it cannot do for some types (4 bits, say). Of those it
    then refuses even a `clone` or a `torch.load`.
    """
    settings: Any = torch.utils.deterministic  # its attribute is a property of the module's class
    before = settings.fill_uninitialized_memory
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = before
