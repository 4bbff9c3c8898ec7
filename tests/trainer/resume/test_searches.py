"""Callbacks that search for a learning rate or a batch size do so once: a resumed fit has what they found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BatchSizeFinder, LearningRateFinder
from torch import nn
from torch.utils.data import DataLoader

import lighter
from tests.slow import mostly_slow
from tests.trainer.resume.cuts import Module, Samples

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*is smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec", "ignore:.*num_workers"),
]


class Tuned(Module):
    def __init__(self) -> None:
        super().__init__()
        self.network, self.lr, self.steps = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.3), nn.Linear(4, 1)), 0.01, 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.steps += 1
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class Data(pl.LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.batch_size = 1

    def train_dataloader(self) -> Any:
        return DataLoader(Samples(), self.batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(Samples(), 4)


class Saves(pl.Callback):
    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 4:
            trainer.save_checkpoint("middle.ckpt")


class OfMine(LearningRateFinder):
    """A subclass."""


SEARCHES: dict[str, Callable[[], Any]] = {
    "learning rate": lambda: LearningRateFinder(num_training_steps=30),
    "subclass": lambda: OfMine(num_training_steps=30),
    "batch size": lambda: BatchSizeFinder(max_trials=1, steps_per_trial=1),
}


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("more", mostly_slow([{}, {"limit_val_batches": 0}]), ids=["validates", "does not"])
def test_a_resumed_fit_has_what_was_found(name: str, more: dict[str, Any], own_place: Path) -> None:
    def outcome(ckpt_path: str | None = None) -> Any:
        pl.seed_everything(1, verbose=False)
        module, data = Tuned(), Data()
        trainer = lighter.Trainer(max_epochs=3, accelerator="cpu", devices=1, logger=False, enable_model_summary=False,
                                  enable_checkpointing=False, enable_progress_bar=False,
                                  callbacks=[SEARCHES[name](), Saves()], **more)  # fmt: skip
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
        assert str(trainer.resume_choice) == "exact"
        assert any(type(SEARCHES[name]()) is type(callback) for callback in trainer.callbacks)
        weights = [parameter.tolist() for parameter in module.parameters()]
        return module.lr, data.batch_size, module.steps, trainer.global_step, weights

    whole = outcome()
    assert (whole[0] != 0.01) == (name != "batch size")
    assert (whole[1] != 1) == (name == "batch size")
    assert outcome("middle.ckpt") == whole
