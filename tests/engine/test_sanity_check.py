"""The validation that is tried before a fit tells of monitors that nothing logs, before the first epoch is trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchmetrics import Metric

from lighter import Runner
from lighter.errors import ConfigError
from tests.jobs import Classifier


class Extremes(Metric):
    """Of several values, which a config does not tell."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("seen", torch.zeros(()), "sum")

    def update(self, pred: torch.Tensor, target: torch.Tensor) -> None:
        self.seen += len(pred)

    def compute(self) -> dict[str, torch.Tensor]:
        return {"low": self.seen, "high": self.seen}


class Silent(Classifier):
    """Logs no loss of the validation."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.val_metrics(self(batch[0]), batch[1])


TOLD = "the sanity check logged no `val/metrics/extremes/epoch`, which is monitored. Did you mean"
WATCHERS: dict[str, dict[str, Any]] = {
    "EarlyStopping": {"trainer": {"callbacks": [{"_target_": "pytorch_lightning.callbacks.EarlyStopping"}]}},
    "ModelCheckpoint": {"trainer": {"callbacks": [{"_target_": "pytorch_lightning.callbacks.ModelCheckpoint"}]}},
    "a scheduler": {"model": {"scheduler": {"scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"}}}},
}


@pytest.mark.parametrize("trainer", ["lighter", "pytorch_lightning"])
@pytest.mark.parametrize("name", WATCHERS)
def test_a_monitor_that_nothing_logs(
    name: str, trainer: str, config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    change = WATCHERS[name]
    watcher = change["trainer"]["callbacks"][0] if "trainer" in change else change["model"]["scheduler"]
    watcher["monitor"] = "val/metrics/extremes/epoch"
    config["model"]["val_metrics"] = {"extremes": {"_target_": f"{__name__}.Extremes"}}
    config["trainer"] |= {"_target_": f"{trainer}.Trainer", "max_epochs": 1}
    with pytest.raises(ConfigError) as raised:
        Runner().run("fit", [config, change])
    assert caplog.text.count(TOLD) == 1
    [problem] = raised.value.problems
    assert problem.path.endswith("::monitor")
    assert "Did you mean `val/metrics/" in problem.hint


def test_monitors_that_are_there_and_those_of_the_default_callbacks(
    config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    stopping = {"_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "val/metrics/f1/epoch"}
    Runner().run("fit", [config, {"trainer": {"max_epochs": 1, "callbacks": [stopping]}}])
    config["model"]["_target_"] = f"{__name__}.Silent"
    Runner().run("fit", [config, "trainer::max_epochs=1"])
    assert "the sanity check logged no" not in caplog.text
