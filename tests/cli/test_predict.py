"""`lighter predict` as a whole process: signals stop it within a batch, and it goes on."""

from __future__ import annotations

import csv
import signal
from pathlib import Path

import pytest

from lighter.config.yaml import dump
from tests.callbacks.jobs import Samples, config
from tests.cli.test_command import command
from tests.commands import TESTS, Process


@pytest.mark.faults
@pytest.mark.parametrize(
    ("sent", "code", "noted"), [("SIGINT", 130, "stopped by Ctrl-C"), ("SIGTERM", 143, "stopped by SIGTERM")]
)
@pytest.mark.parametrize("trainer", ["lighter.Trainer", "pytorch_lightning.Trainer"])
def test_a_signal_stops_it_and_it_goes_on(own_place: Path, sent: str, code: int, noted: str, trainer: str) -> None:
    job = {**config("csv", "files", seconds=2), "run": {"dir": "outputs"}}
    job["trainer"]["_target_"] = trainer
    (own_place / "job.yaml").write_text(dump(job))
    process = Process("lighter", "predict", "job.yaml", environment=TESTS)
    process.wait_until(lambda: any(own_place.glob("outputs/*/*/files/*.pt")))
    process.send_signal(signal.Signals[sent])
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert "to go on: lighter predict --resume outputs" in errors
    [folder] = own_place.glob("outputs/*/*")
    assert noted in (folder / "run.log").read_text()
    with open(folder / "rows.partial.csv", newline="", encoding="utf-8") as file:
        assert 7 <= len(list(csv.reader(file))) < 60
    (folder / "config.yaml").write_text((folder / "config.yaml").read_text().replace("seconds: 2", "seconds: 0.0"))
    done = command("predict", "--resume", "last")
    assert done.returncode == 0, done.stderr
    with open(folder / "rows.csv", newline="", encoding="utf-8") as file:
        assert [row["name"] for row in csv.DictReader(file)] == [Samples()[i]["name"] for i in range(100)]


@pytest.mark.slow
def test_predict_needs_something_to_predict(own_place: Path) -> None:
    done = command("predict")
    assert done.returncode == 2
    assert "Missing argument 'INPUT...'" in done.stderr
