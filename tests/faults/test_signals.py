from __future__ import annotations

import pytest

from tests.faults import inject_signals


@pytest.mark.faults
def test_signals_at_random_moments() -> None:
    results = inject_signals.inject(short=True)
    assert len(results.rows) == 4
    assert results.broken == []
