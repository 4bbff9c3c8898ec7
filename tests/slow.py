"""Parameters of which `make test-fast` tries a few, and `make test` all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_slow(values: Iterable[Any], quick: int = 1) -> list[Any]:
    """Mark all but the first values of a parameter as slow: all go through the same code, each as a whole fit."""
    cases = list(values)
    return [*cases[:quick], *(pytest.param(value, marks=pytest.mark.slow) for value in cases[quick:])]
