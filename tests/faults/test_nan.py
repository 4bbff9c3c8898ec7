from __future__ import annotations

import pytest

from tests.faults.inject_nan import run


@pytest.mark.faults
def test_numbers_that_are_not_finite() -> None:
    results = run(True)
    assert not results.broken
    assert all(row.tried for row in results.rows.values())
