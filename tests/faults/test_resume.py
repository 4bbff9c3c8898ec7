"""A short version of `inject_resume`, and that it can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.faults.inject_resume import SHORT, from_cuts, run
from tests.faults.table import Results


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.faults
def test_going_on_is_exact() -> None:
    results: Results = run(short=True)
    assert not results.broken, "\n".join(results.broken)
    assert sum(row.tried for row in results.rows.values()) > 20


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT[:1])
def test_with_lightnings_random_streams_it_is_not(own_place: Path, name: str) -> None:
    """What the other test is worth."""
    [(_, _, broken)] = from_cuts(own_place, name, exact=False, share=(0, 1), count=1)
    assert "state_dict" in broken
    assert "optimizer_states" in broken
    assert "logged rows" in broken
    assert "served" in broken
