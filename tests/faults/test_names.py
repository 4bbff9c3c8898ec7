"""The short version of the script that stops, moves and resumes fits."""

from __future__ import annotations

import pytest

from tests.faults import inject_names


@pytest.mark.faults
def test_last_and_best_are_the_newest_and_the_best() -> None:
    results = inject_names.inject(short=True)
    assert len(results.rows) == len(inject_names.WAYS)
    assert results.broken == []
