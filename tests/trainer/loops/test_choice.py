"""What needs Lightning's own loops gets them, and the trainer says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.strategies import SingleDeviceStrategy

import lighter
from tests.trainer.fits import shuffled, val_loaders
from tests.trainer.recording import Net

pytestmark = pytest.mark.filterwarnings("ignore")


class SubclassOfStrategy(SingleDeviceStrategy):
    """It might override anything."""


class SubclassOfPrecision(Precision):
    """It too."""


CHOICES = {
    "the profiler": ({"profiler": "simple"}, "SimpleProfiler times every hook"),
    "the strategy": ({"strategy": SubclassOfStrategy()}, "the strategy is SubclassOfStrategy"),
    "the precision": ({"plugins": SubclassOfPrecision()}, "the precision is SubclassOfPrecision"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_what_needs_lightnings_loop_gets_it_and_says_so(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more, reason = CHOICES[name]
    caplog.set_level("INFO", "lighter")
    trainer = lighter.Trainer(default_root_dir=tmp_path, max_epochs=2, enable_progress_bar=False, **more)
    trainer.fit(Net(), shuffled(), val_loaders())
    assert trainer.loop_choice == ("lightning", reason)
    told = [record.message for record in caplog.records if record.name == "lighter"]
    assert told == ["resume: exact", f"Lightning's own training loop runs: {reason}"]


def test_the_iterator_is_lightnings(tmp_path: Path) -> None:
    class Iterating(Net):
        def training_step(self, dataloader_iter: Any) -> Any:
            return self.loss(next(dataloader_iter)[0])

    trainer = lighter.Trainer(default_root_dir=tmp_path, accelerator="cpu", max_epochs=1, enable_progress_bar=False)
    trainer.fit(Iterating(), shuffled())
    assert trainer.loop_choice == ("lightning", "the step takes the iterator of batches")


def test_logging_every_hook_is_lightnings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "pytorch_lightning.trainer.call")
    trainer = lighter.Trainer(default_root_dir=tmp_path, accelerator="cpu", max_epochs=1, enable_progress_bar=False)
    trainer.fit(Net(), shuffled())
    assert trainer.loop_choice.name == "lightning"
    assert "Trainer: calling lightning module hook: on_train_batch_end" in caplog.messages
