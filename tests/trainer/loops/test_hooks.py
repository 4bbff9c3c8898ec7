"""Which hooks count as somebody's own."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

import lighter
from tests.jobs import PlainClassifier, loader


class Wrapped(PlainClassifier):
    moved = 0

    @functools.wraps(pl.LightningModule.on_after_batch_transfer)
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.moved += 1
        return batch


def wrapped_on_an_instance() -> Any:
    module: Any = PlainClassifier()
    module.moved, before = 0, module.transfer_batch_to_device

    @functools.wraps(before)
    def transfer(*args: Any) -> Any:
        module.moved += 1
        return before(*args)

    module.transfer_batch_to_device = transfer
    return module


@pytest.mark.parametrize("make", [Wrapped, wrapped_on_an_instance])
def test_transfers_under_wraps_are_called(make: Any, tmp_path: Path) -> None:
    module = make()
    trainer = lighter.Trainer(
        default_root_dir=tmp_path, accelerator="cpu", max_epochs=1, logger=False, enable_model_summary=False
    )
    trainer.fit(module, loader(0, 64), loader(64, 96))
    assert module.moved > trainer.global_step > 0
