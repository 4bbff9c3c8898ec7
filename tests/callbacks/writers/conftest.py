from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from tests.callbacks.jobs import Predictor, loader


@pytest.fixture
def predict(own_place: Path) -> Any:
    """Predicts with Lightning's own trainer, in the test's folder."""

    def run(*callbacks: Any, data: Any = None, module: Any = None, returned: bool = False, **kwargs: Any) -> Any:
        trainer = pl.Trainer(
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            callbacks=[*callbacks],
            **{"default_root_dir": own_place, **kwargs},
        )
        return trainer.predict(module or Predictor(), loader() if data is None else data, return_predictions=returned)

    return run
