"""A line per epoch: in the run's log, and on a terminal without a progress bar."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from lighter import Runner

TIME = r"\d+(\.\d)?s"
EARLY = {
    "_target_": "pytorch_lightning.callbacks.EarlyStopping",
    "monitor": "val/metrics/accuracy/epoch",
    "min_delta": 9,
    "mode": "max",
    "patience": 1,
}


def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.getMessage().startswith(("epoch", "EarlyStopping ended"))]


def test_losses_monitored_values_and_times(config: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lighter")
    runner = Runner()
    runner.run("fit", [config, "trainer::max_epochs=5", {"trainer": {"callbacks": [EARLY]}}])
    assert runner.outcome is not None
    first, second, end = (record.getMessage() for record in lines(caplog))
    values = r"(train|val)/loss/epoch [\d.]+, (train|val)/loss/epoch [\d.]+, val/metrics/accuracy/epoch [\d.]+"
    assert re.fullmatch(rf"epoch 1 of 5; {values}; {TIME}; {TIME} left", first)
    assert re.fullmatch(rf"epoch 2 of 5; {values}; {TIME}", second), "no time is left when it was stopped"
    assert f"val/loss/epoch {runner.outcome.metrics['val/loss/epoch']:.4g}" in second
    assert re.match(r"EarlyStopping ended the fit after epoch 2: val/metrics/accuracy/epoch was not better than", end)
    log = Path(runner.outcome.folder.log).read_text()
    assert all(line in log for line in (first, second, end))


@pytest.mark.parametrize("bar", [True, False])
def test_a_terminal_has_a_bar_or_the_lines(
    bar: bool, config: dict[str, Any], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "lighter")
    Runner().run("fit", [config, "trainer::max_epochs=1", f"trainer::enable_progress_bar={str(bar).lower()}"])
    assert [hasattr(record, "shown") for record in lines(caplog)] == [bar]


def test_by_steps(config: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lighter")
    Runner().run("fit", [config, "trainer::max_epochs=-1", "trainer::max_steps=15"])
    first, second = (record.getMessage() for record in lines(caplog))
    assert re.match("epoch 1; ", first)
    assert first.endswith(" left")
    assert not second.endswith(" left")
