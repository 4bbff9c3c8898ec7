"""What a private name is needed for, and what must hold of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Contract(NamedTuple):
    """What Lighter needs a private name for, and a check of what it relies on, true if it holds."""

    purpose: str
    holds: Callable[[Any], object]
