"""Checkpoints that are damaged: `last` and `best` pass over them, a path given by hand is refused."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from lighter import Runner
from lighter.errors import CheckpointError, DamagedCheckpointError
from lighter.files.run_folder import RunFolder, runs_of
from tests.engine.test_runner import newest


@pytest.fixture
def job(config: dict[str, Any]) -> dict[str, Any]:
    config["trainer"] |= {"max_epochs": 1, "limit_train_batches": 2}
    return config


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


def fit(job: dict[str, Any]) -> RunFolder:
    Runner().run("fit", [job])
    return newest()


def test_the_newest_good_one_is_taken(job: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    earlier, folder = fit(job), fit(job)
    last, best = folder.checkpoints / "last.ckpt", folder.checkpoints / "best.ckpt"
    flip(last)
    said = _said(caplog, job, "last")
    assert said[0] == f"{last} is damaged: its bytes are not those that were saved. It is passed over"
    assert said[1] == f"{best} is taken in its place, the newest that is good"
    best.write_bytes(best.read_bytes()[:-100])
    size = best.stat().st_size
    said = _said(caplog, job, "best")
    assert said[0].startswith(f"{best} is damaged: it ends after {size:,} of {size + 100:,} bytes")
    assert said[1].startswith(f"{last} is damaged")
    said = _said(caplog, job, "last")
    assert f"{earlier.checkpoints / 'last.ckpt'} is taken in its place" in said[-1]
    for path in earlier.checkpoints.iterdir():
        flip(path)
    with pytest.raises(
        CheckpointError, match=r"^there is no last checkpoint: all checkpoints of `run` under outputs are damaged$"
    ):
        Runner().run("test", [job], ckpt_path="last", verbose=False)


def _said(caplog: pytest.LogCaptureFixture, job: dict[str, Any], wanted: str) -> list[str]:
    """What a test says of the checkpoints; its own run has none, and those before it are looked at again."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "lighter.runs"):
        Runner().run("test", [job], ckpt_path=wanted, verbose=False)
    return [record.getMessage() for record in caplog.records if record.name == "lighter.runs"]


def test_one_that_is_named_is_refused(job: dict[str, Any]) -> None:
    folder = fit(job)
    flip(folder.checkpoints / "last.ckpt")
    expected = rf"last.ckpt is damaged: .* The newest good one beside it is {folder.checkpoints / 'best.ckpt'}$"
    with pytest.raises(DamagedCheckpointError, match=expected) as caught:
        Runner().run("test", [job], ckpt_path=str(folder.checkpoints / "last.ckpt"))
    assert caught.value.exit_code == 3


def test_a_link_to_nothing_is_no_checkpoint(job: dict[str, Any]) -> None:
    """Lightning's `save_last: link`, killed between the end of a save and the new link."""
    folder = fit(job)
    (folder.checkpoints / "last.ckpt").unlink()
    os.symlink("gone.ckpt", folder.checkpoints / "last.ckpt")
    Runner().run("test", [job], ckpt_path="last", verbose=False)
    assert "checkpoint: " + str(folder.checkpoints / "best.ckpt") in newest().log.read_text()


def test_the_initial_weights_of_a_module(job: dict[str, Any]) -> None:
    weights = fit(job).checkpoints / "best.ckpt"
    flip(weights)
    with pytest.raises(DamagedCheckpointError, match=r"best.ckpt is damaged"):
        Runner().run("fit", [job, f"model::ckpt_path={weights}"])
    assert len(list(runs_of(Path("outputs"), "run"))) == 2
