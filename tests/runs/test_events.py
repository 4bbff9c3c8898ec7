"""`events.jsonl`: what programs read of a run while it goes on."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from lighter import Runner
from lighter.errors import CheckpointError, NonFiniteError
from lighter.files.run_folder import RunFolder
from lighter.runs.journal import Journal
from lighter.runs.secrets import Secrets
from tests.lightning.compare import config_of

MODULE = "model: {_target_: tests.lightning.jobs.Validated}"


def config(**trainer: Any) -> dict[str, Any]:
    made = config_of(MODULE, "lighter.Trainer")
    made["trainer"].update({"max_epochs": 2, "enable_checkpointing": True, **trainer})
    return made


def events(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "events.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_each_epoch_checkpoint_and_the_end_are_told_in_order() -> None:
    runner = Runner()
    runner.run("fit", config())
    outcome = runner.outcome
    assert outcome is not None
    told = events(outcome.folder.path)
    kinds = [event["event"] for event in told]
    assert kinds[0] == "started"
    assert kinds[-1] == "finished"
    assert kinds.count("epoch") == 2
    assert "checkpoint" in kinds[: kinds.index("epoch") + 1]
    assert [event["time"] for event in told] == sorted(event["time"] for event in told)
    first, second = (event for event in told if event["event"] == "epoch")
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert (first["step"], second["step"]) == (6, 12)
    assert second["metrics"] == {
        name: value for name, value in outcome.metrics.items() if not name.endswith("/step")
    } == told[-1]["metrics"]  # fmt: skip
    saved = [event for event in told if event["event"] == "checkpoint"]
    assert Path(saved[-1]["path"]).is_file()
    assert saved[-1]["step"] == 12
    assert told[0]["stage"] == "fit"
    assert told[0]["resumes"] is False
    assert told[-1]["progress"] == {"epoch": 2, "step": 12}


def test_a_resumed_fit_goes_on_in_the_same_file() -> None:
    runner = Runner()
    runner.run("fit", config())
    runner.resume("last", ["trainer::max_epochs=3"])
    assert runner.outcome is not None
    kinds = [event["event"] for event in events(runner.outcome.folder.path)]
    assert (kinds.count("started"), kinds.count("finished"), kinds.count("epoch")) == (2, 2, 3)
    assert events(runner.outcome.folder.path)[kinds.index("finished") + 1]["resumes"] is True


def test_a_diverged_fit_is_told_before_its_end(own_place: Path) -> None:
    with pytest.raises(NonFiniteError):
        Runner().run("fit", [config(), "model::lr=1e38"])
    [folder] = own_place.glob("outputs/*/*")
    diverged, failed = events(folder)[-2:]
    assert (diverged["event"], failed["event"]) == ("diverged", "failed")
    assert diverged["message"] in failed["error"]["message"]


def test_a_refused_run_leaves_nothing(own_place: Path) -> None:
    with pytest.raises(CheckpointError):
        Runner().run("fit", config(), ckpt_path="last")
    assert not list(own_place.glob("outputs/*/*"))


@pytest.mark.skipif(os.name != "posix", reason="/dev/full is Linux's")
def test_a_full_disk_is_a_warning_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    journal = Journal(RunFolder(tmp_path), Secrets())
    with caplog.at_level(logging.WARNING, "lighter.runs"):
        journal.event("epoch", epoch=1)
        journal.event("epoch", epoch=2)
    [message] = caplog.messages
    assert "No space left on device" in message


def test_a_torn_line_takes_no_other_with_it(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"event": "epoch"}\n{"event": "che')
    journal = Journal(RunFolder(tmp_path), Secrets())
    journal.event("started")
    journal.event("finished")
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert lines[1] == '{"event": "che'
    assert [json.loads(line)["event"] for line in lines[2:]] == ["started", "finished"]


def test_secrets_and_numbers_that_json_lacks(tmp_path: Path) -> None:
    token = "correct horse battery"
    journal = Journal(RunFolder(tmp_path), Secrets({"vars": {"password": token}}))
    journal.event("failed", error={"message": f"cannot log in with {token}"}, metrics={"loss": float("nan")})
    [event] = events(tmp_path)
    assert event["error"] == {"message": "cannot log in with <redacted>"}
    assert event["metrics"] == {"loss": "nan"}
