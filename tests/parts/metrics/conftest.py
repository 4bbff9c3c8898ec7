"""Counts the updates of collections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch import Tensor
from torchmetrics import MetricCollection


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The samples of each update of a collection."""
    counted: list[int] = []
    update = MetricCollection.update

    def count(self: MetricCollection, preds: Tensor, target: Tensor) -> None:
        counted.append(len(target))
        update(self, preds, target)

    monkeypatch.setattr(MetricCollection, "update", count)
    return counted
