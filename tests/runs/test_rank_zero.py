"""What the first of srun's processes decides, told by a file. By torchrun's store: `tests/engine/test_claim.py`."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from lighter.engine.claim import claim
from lighter.errors import ProcessError
from lighter.runs import rank_zero
from lighter.runs.rank_zero import told_by_rank_zero

ROOT = Path("outputs")
Become = Callable[..., None]


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Become:
    """A function that makes this process one of srun's two."""

    def become(rank: int, **more: str) -> None:
        step = {"SLURM_JOB_ID": "17", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": str(rank)}
        for name, value in {**step, **more}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(rank_zero, "_numbers", itertools.count())

    return become


def never() -> str:
    raise AssertionError("only the first process decides")


def test_all_have_the_folder_of_the_first(become: Become) -> None:
    become(0)
    first = [claim(ROOT, "digits") for _ in range(2)]
    become(1)
    assert [claim(ROOT, "digits").path for _ in range(2)] == [folder.path.absolute() for folder in first]


def test_a_requeued_job_decides_anew(become: Become) -> None:
    for restarts in ("0", "1"):
        become(0, SLURM_RESTART_COUNT=restarts)
        told_by_rank_zero(ROOT, lambda restarts=restarts: restarts)  # type: ignore[misc]
    become(1, SLURM_RESTART_COUNT="1")
    assert told_by_rank_zero(ROOT, never) == "1"


def test_nothing_is_an_answer_too(become: Become) -> None:
    become(0)
    assert told_by_rank_zero(ROOT, str) == ""
    become(1)
    assert told_by_rank_zero(ROOT, never) == ""


def test_the_others_wait_for_the_first(become: Become) -> None:
    become(1)
    later = threading.Timer(0.3, rank_zero.write_whole, (ROOT / ".slurm/17-0-0-0", "decided here"))
    (ROOT / ".slurm").mkdir(parents=True)
    later.start()
    assert told_by_rank_zero(ROOT, never) == "here"
    later.join()


def test_the_others_end_where_the_first_fails(become: Become) -> None:
    become(0)
    with pytest.raises(AssertionError):
        told_by_rank_zero(ROOT, never)
    become(1)
    with pytest.raises(ProcessError, match="the first process failed"):
        told_by_rank_zero(ROOT, str)


def test_a_folder_that_is_not_shared(become: Become, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero, "_PATIENCE", timedelta(seconds=0.2))
    become(1)
    with pytest.raises(ProcessError, match="Do all nodes share it"):
        told_by_rank_zero(ROOT, never)


def test_old_files_are_swept(become: Become) -> None:
    become(0)
    told_by_rank_zero(ROOT, str)
    (old,) = (ROOT / ".slurm").iterdir()
    os.utime(old, (0, 0))
    become(0, SLURM_JOB_ID="18")
    told_by_rank_zero(ROOT, str)
    assert [path.name for path in (ROOT / ".slurm").iterdir()] == ["18-0-0-0"]


@pytest.mark.parametrize("environment", [{}, {"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_STEP_NUM_TASKS": ""}])
def test_one_process_asks_nobody(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert told_by_rank_zero(ROOT, never) is None
