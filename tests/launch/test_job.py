"""When a job is requeued, and when not."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable

import pytest

from lighter.launch import job

LIMIT, TERM = 128 + job.SIGNAL, job.STOPPED
Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run what ends with a code, in a job; returns the job's exit code and what scontrol was asked."""

    def run(code: int, *, restarts: int = 0, most: int | None = None, steps: int = 1, preempted: str = "None"):
        asked: list[str] = []

        def scontrol(*words: str) -> subprocess.CompletedProcess[str]:
            asked.append(words[0])
            return subprocess.CompletedProcess(words, 0, f"JobId=17 PreemptTime={preempted}\n", "")

        monkeypatch.setenv("SLURM_JOB_ID", "17")
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
        monkeypatch.setattr(job, "_scontrol", scontrol)
        progress = itertools.count(0, steps)
        with pytest.raises(SystemExit) as end:
            job.run_and_requeue(lambda: code, lambda: next(progress), most)
        return end.value.code, asked

    return run


@pytest.mark.parametrize(
    ("code", "how", "asked"),
    [
        (LIMIT, {}, ["requeue"]),
        (LIMIT, {"most": 3, "restarts": 2}, ["requeue"]),
        (TERM, {"preempted": "2026-11-29T14:03:00"}, ["show", "requeue"]),
        (TERM, {}, ["show"]),  # scancel
        (0, {}, []),
        (1, {}, []),
        (2, {}, []),
        (130, {}, []),
    ],
)
def test_a_requeue(code: int, how: dict[str, int], asked: list[str], run: Run) -> None:
    assert run(code, **how) == (code, asked)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"steps": 0}, "its fit has made no step"),
        ({"most": 0}, "nobody asked for that: --requeue"),
        ({"most": 3, "restarts": 3}, "3 times are allowed"),
    ],
)
def test_no_requeue_and_why(how: dict[str, int], said: str, run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(LIMIT, **how) == (LIMIT, [])
    assert said in capfd.readouterr().out


def test_what_slurm_itself_requeues_too_often_ends(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(0, most=3, restarts=4) == (TERM, [])
    assert "The job was requeued 4 times, and 3 are allowed" in capfd.readouterr().out
