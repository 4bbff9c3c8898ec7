"""How much work something is, counted in calls of functions: no busy machine changes it, as it does a time."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable


def calls(function: Callable[..., object], *args: object) -> int:
    """The calls of functions, Python's and those written in C, that a call takes."""
    profile = cProfile.Profile()
    profile.runcall(function, *args)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]
