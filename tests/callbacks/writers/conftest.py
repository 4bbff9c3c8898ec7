from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from tests.callbacks.jobs import Predictor, loader


@pytest.fixture
def trainer_class() -> type[pl.Trainer]:
    """The trainer that predicts: Lightning's own, where a test file says nothing else."""
    return pl.Trainer


@pytest.fixture
def predict(own_place: Path, trainer_class: type[pl.Trainer]) -> Any:
    """Predicts in the test's folder."""

    def run(*callbacks: Any, data: Any = None, module: Any = None, returned: bool = False, **kwargs: Any) -> Any:
        trainer = trainer_class(
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            callbacks=[*callbacks],
            **{"default_root_dir": own_place, **kwargs},
        )
        return trainer.predict(module or Predictor(), loader() if data is None else data, return_predictions=returned)

    return run
