"""The lean loops of validation, test and prediction do what Lightning's do, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BasePredictionWriter

import lighter
from tests.trainer.fits import BUT_ONE, assert_same, own_arguments, val_loaders
from tests.trainer.recording import Net, Recording, RecordingLogger, describe, recording_callback, recording_module

pytestmark = pytest.mark.filterwarnings("ignore")


class Writer(BasePredictionWriter):
    def __init__(self) -> None:
        super().__init__("batch_and_epoch")
        self.seen: list = []

    def write_on_batch_end(self, trainer: Any, module: Any, prediction: Any, indices: Any, *args: Any) -> None:
        self.seen.append(describe([prediction, indices, *args]))

    def write_on_epoch_end(self, trainer: Any, module: Any, predictions: Any, indices: Any) -> None:
        self.seen.append(describe([predictions, indices]))


def infer(trainer_class: type[pl.Trainer], stage: str, loaders: Any, writes: bool, folder: Path) -> Recording:
    """Validate, test or predict, and record."""
    recording = Recording()
    torch.manual_seed(5)
    module = recording_module(Net, recording, BUT_ONE)(recording)
    writer = Writer()
    trainer = trainer_class(
        accelerator="cpu",
        log_every_n_steps=2,
        callbacks=[recording_callback(recording), *([writer] if writes else [])],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        logger=RecordingLogger(recording, folder),
        limit_test_batches=2,
        **own_arguments(trainer_class),
    )
    recording.result = describe([getattr(trainer, stage)(module, loaders, **more) for more in ({}, {})]), writer.seen
    assert trainer_class is pl.Trainer or trainer.loop_choice.is_lean
    return recording


@pytest.mark.parametrize("loaders", [1, 3])
@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_inference_is_the_same(stage: str, loaders: int, tmp_path: Path) -> None:
    ours, theirs = (
        infer(trainer_class, stage, val_loaders(loaders), stage == "predict", tmp_path)
        for trainer_class in (lighter.Trainer, pl.Trainer)
    )
    assert len(theirs.events) > 20
    assert_same(ours, theirs)


def test_predictions_that_are_not_kept(tmp_path: Path) -> None:
    class Silent(Net):
        def predict_step(self, batch: Any) -> Any:
            return None if batch[0][0, 0] > 0 else [batch[0], {"a": batch[1]}]

    results = []
    for trainer_class in (lighter.Trainer, pl.Trainer):
        trainer = trainer_class(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
        module = Silent()
        results.append(describe([trainer.predict(module, val_loaders()), trainer.predict_loop.predictions]))
        assert trainer.predict(module, val_loaders(), return_predictions=False) is None
    assert results[0] == results[1]
