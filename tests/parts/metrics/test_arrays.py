"""Matrices and curves, in files and in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from torch import nn
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassROC

import lighter
from tests.jobs import QUIET, Classifier, loader, mlp


class Pictures(Logger):
    """A logger with the method of W&B's."""

    name, version, experiment = "pictures", "0", None

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Any] = []

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: Any, step: int | None = None) -> None: ...

    def log_image(self, key: str, images: list[Any]) -> None:
        self.shown.append((key, type(images[0]).__name__))


class Several(Classifier):
    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        return super().validation_step(batch, batch_idx)


def validate(folder: Path, loaders: int = 1, **kwargs: Any) -> None:
    metrics = {"matrix": MulticlassConfusionMatrix(10), "roc": MulticlassROC(10, thresholds=5)}
    module = Several(mlp(), nn.CrossEntropyLoss(), val_metrics=metrics)
    lighter.Trainer(default_root_dir=folder, **{**QUIET, **kwargs}).validate(
        module, [loader(0, 64)] * loaders, verbose=False
    )


def test_files_and_pictures(tmp_path: Path) -> None:
    logger = Pictures()
    validate(tmp_path, logger=logger)
    [file] = (tmp_path / "arrays").iterdir()
    assert file.name == "val-epoch0-step0.npz"
    assert {name: array.shape for name, array in np.load(file).items()} == {
        "matrix": (10, 10), "roc_0": (10, 5), "roc_1": (10, 5), "roc_2": (5,),
    }  # fmt: skip
    assert ("val/metrics/matrix/epoch", "Figure") in logger.shown
    content = file.read_bytes()
    validate(tmp_path, loaders=2)
    assert file.read_bytes() == content
    names = np.load(tmp_path / "arrays/val-epoch0-step0-v1.npz").files
    assert "matrix/dataloader_idx_1" in names


def test_tensorboard_gets_a_picture(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = pl.loggers.TensorBoardLogger(tmp_path, name="", version="")
    validate(tmp_path, logger=logger)
    logger.experiment.flush()
    assert "val/metrics/matrix/epoch" in events.EventAccumulator(str(tmp_path)).Reload().Tags()["images"]


@pytest.mark.parametrize("kwargs", [{"fast_dev_run": True}, {"barebones": True, "logger": None}])
def test_a_trial_leaves_no_file(tmp_path: Path, kwargs: dict[str, Any]) -> None:
    validate(tmp_path, **kwargs)
    assert not [*tmp_path.rglob("*.npz")]


def test_numbers_of_half_precision_are_read_by_numpy(tmp_path: Path) -> None:
    from lighter.parts.metrics.arrays import to_numpy

    assert to_numpy(torch.ones(2, 2, dtype=torch.bfloat16)).dtype == np.float32
