from __future__ import annotations

import pytest

from tests.faults import inject_pairs


@pytest.mark.faults
def test_one_process_at_a_time_has_a_run() -> None:
    results = inject_pairs.inject(short=True)
    assert len(results.rows) == len(inject_pairs.PAIRS) + 2
    assert results.broken == []
