"""A member's process may be started again at any time: what is done is not done twice."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lighter.engine import member, runner
from lighter.engine.member import run_member
from lighter.errors import StorageError
from lighter.experiments.executors.base import BUSY, ERROR, MEMBER_LOCK, NO_DISK
from lighter.files import lock


@pytest.fixture(autouse=True)
def _no_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a member changes for the rest of its process."""
    monkeypatch.setattr(member, "_show_messages", lambda: None)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", sys.modules["__main__"].__spec__)
    monkeypatch.setenv("LIGHTER_MEMBER", "")


def task(folder: Path) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    return {"folder": str(folder), "inputs": [], "pause": None, "cwd": os.getcwd(), "environment": {}}


def test_a_finished_member_stays_as_it_is(tmp_path: Path) -> None:
    """A server whose coordinator was killed started it late."""
    home = tmp_path / "trial-0000-seed-1"
    arguments = task(home)
    record = json.dumps({"stage": "fit", "status": "finished", "progress": {"epoch": 3, "step": 9}, "metrics": {}})
    (home / "run.json").write_text(record)
    assert run_member(arguments) == 0
    assert (home / "run.json").read_text() == record
    assert not (home / ERROR).exists()


def test_the_record_has_a_command_that_trains_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Started, "calls", [])
    monkeypatch.setattr(runner, "Runner", Started)
    run_member({**task(tmp_path / "member"), "inputs": ["exp/config.yaml", "~experiment", "seed=2"]})
    assert sys.argv == ["lighter", "fit", "exp/config.yaml", "~experiment", "seed=2"]


def test_a_member_that_another_process_runs(tmp_path: Path) -> None:
    arguments = task(tmp_path / "member")
    lock.acquire(tmp_path / "member" / MEMBER_LOCK)
    try:
        (tmp_path / "member" / MEMBER_LOCK).write_text(json.dumps({**lock.this_process(), "since": "now"}))
        assert run_member(arguments) == BUSY
    finally:
        lock.release(tmp_path / "member" / MEMBER_LOCK)


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no member that another process runs, which would be waited for and started again for ever."""

    def refuse(path: Path, *, create: bool = True) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(lock, "acquire", refuse)
    assert run_member(task(tmp_path / "member")) == 2


class Started:
    """In place of `Runner`: what it was asked for."""

    calls: ClassVar[list[str]] = []

    def resume(self, folder: Path, *, pause: object) -> None:
        self.calls.append("resume")

    def execute(self, stage: str, inputs: list[str], *, pause: object, in_folder: Path) -> None:
        self.calls.append(stage)


@pytest.mark.parametrize("has_begun", [False, True])
def test_the_other_processes_do_what_the_first_one_does(
    has_begun: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning starts the main module once more, which is that of an executor; they find a record in any case."""
    monkeypatch.setattr(Started, "calls", [])
    monkeypatch.setattr(runner, "Runner", Started)
    arguments, record = task(tmp_path / "member"), tmp_path / "member" / "run.json"
    text = json.dumps({"stage": "fit", "status": "interrupted", "checkpoints": [{"path": "checkpoints/last.ckpt"}]})
    if has_begun:
        record.write_text(text)
    assert run_member(arguments) == 0
    record.write_text(text)
    (tmp_path / "member" / ERROR).write_text("of the first process")
    main: Any = sys.modules["__main__"]
    assert main.__spec__.name == "lighter.engine.member"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert run_member(json.loads(os.environ["LIGHTER_MEMBER"])) == 0
    assert Started.calls == ["resume" if has_begun else "fit"] * 2
    assert (tmp_path / "member" / ERROR).exists()


@pytest.mark.parametrize(
    ("error", "is_kept"),
    [
        (ValueError("no \ud800"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (StorageError("last.ckpt cannot be written"), False),
    ],
)
def test_a_full_disk_is_no_fault_of_the_member(
    error: Exception, is_kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(member, "_fit", fail)
    assert run_member(task(tmp_path / "member")) == (1 if is_kept else NO_DISK)
    path = tmp_path / "member" / ERROR
    assert path.exists() == is_kept
    assert not is_kept or path.read_text() == "ValueError: no ?"
