"""Parameters of which `make test-fast` tries a few, and `make test` all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_slow(values: Iterable[Any], quick: int = 1) -> list[Any]:
    """Mark all but the first values of a parameter as slow: all go through the same code, each as a whole fit."""
    cases = list(values)
    return [*cases[:quick], *(pytest.param(value, marks=pytest.mark.slow) for value in cases[quick:])]


def slow_but(values: Iterable[Any], *quick: Any) -> list[Any]:
    """Mark all but some values of a parameter as slow: these are the ones that go through different code."""
    cases = list(values)
    assert all(value in cases for value in quick), f"{quick}: not all of them are cases"
    return [value if value in quick else pytest.param(value, marks=pytest.mark.slow) for value in cases]


def one_in(n: int, values: Iterable[Any]) -> list[Any]:
    """Mark all but each n-th value of a parameter as slow, where no few of them stand for the others."""
    cases = enumerate(values)
    return [value if number % n == 0 else pytest.param(value, marks=pytest.mark.slow) for number, value in cases]
