"""Counts how batches were loaded."""

from __future__ import annotations

from collections import Counter

import pytest

from lighter.trainer.batch_indexing import WholeBatches


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many batches were asked for at once, and how many of these were loaded one by one after all."""
    counts: Counter[str] = Counter()
    at_once, usual = WholeBatches.__getitems__, WholeBatches._one_by_one
    monkeypatch.setattr(WholeBatches, "__getitems__", lambda *args: (counts.update(["at once"]), at_once(*args))[1])
    monkeypatch.setattr(WholeBatches, "_one_by_one", lambda *args: (counts.update(["one by one"]), usual(*args))[1])
    return counts
