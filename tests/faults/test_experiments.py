"""The short version of the script that kills experiments."""

from __future__ import annotations

import pytest

from tests.faults import inject_experiments


@pytest.mark.faults
def test_experiments_survive_kills_stops_and_mistakes() -> None:
    results = inject_experiments.run(short=True)
    assert len(results.rows) > 6
    assert results.broken == []
