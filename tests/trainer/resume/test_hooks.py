"""Changes that a module's hooks make at a save are in the checkpoint, whichever loop runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.resume.cuts import not_as_whole
from tests.trainer.resume.test_metrics import Plain


class Counting(Plain):
    """It counts the ends of batches, validations and epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(3))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.counts[0] += 1

    def on_validation_end(self) -> None:
        self.counts[1] += 1

    def on_train_epoch_end(self) -> None:
        self.counts[2] += 1


@pytest.mark.parametrize("more", [{}, {"profiler": "simple"}], ids=["lean", "lightning"])
def test_the_modules_hooks_are_called_once(own_place: Path, more: dict[str, Any]) -> None:
    assert not not_as_whole(Counting, own_place, max_epochs=2, **more)
