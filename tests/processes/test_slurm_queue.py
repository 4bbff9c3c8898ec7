"""What `squeue` prints as jobs, without a SLURM."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from lighter.launch.job import _is_preempted, steps_of
from lighter.processes import slurm_queue as queue

PRINTED = """\
4_2|FAILED|35072|NonZeroExitCode|run.6ec7|
4_1|FAILED|256|NonZeroExitCode|run.6ec7|
4_0|COMPLETED|0|None|run.6ec7|
5|PENDING|0|BeginTime|a name|with bars|
6|OUT_OF_MEMORY|9|OutOfMemory|x|
7|CANCELLED|15|None|x|
"""


def printing(monkeypatch: pytest.MonkeyPatch, printed: str, code: int = 0) -> list[list[str]]:
    commands = []

    def run(command: list[str], **_: Any) -> Any:
        commands.append(command)
        return subprocess.CompletedProcess(command, code, printed, "slurm_load_jobs error: no controller")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    printing(monkeypatch, PRINTED)
    jobs = queue.jobs()
    assert jobs is not None
    assert [*jobs] == ["4_2", "4_1", "4_0", "5", "6", "7"]
    assert jobs["5"] == queue.Job("5", "PENDING", "0", "BeginTime", "a name|with bars")
    assert [(job.index, job.code, job.ending) for job in jobs.values()] == [
        (2, 137, "ended by SIGKILL"),
        (1, 1, "exit code 1"),
        (0, 0, "exit code 0"),
        (0, 0, "SLURM: PENDING"),
        (0, 137, "SLURM: OUT_OF_MEMORY"),
        (0, 143, "SLURM: CANCELLED"),
    ]


@pytest.mark.parametrize(
    "said",
    [
        "slurmstepd-vm: error: StepId=2.0 exceeded memory limit (190300160 > 157286400), being killed",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=12.0. Some of the step tasks have been OOM Killed.",
    ],
)
def test_where_the_state_does_not_say_it_the_log_says_that_memory_ran_out(said: str, tmp_path: Path) -> None:
    log, killed = tmp_path / "2_0_log.out", queue.Job("2", "FAILED", str(137 << 8), "NonZeroExitCode", "x")
    assert queue.ending_of(killed, log) == "ended by SIGKILL"
    log.write_text("epoch 1\n" * 100_000)
    assert queue.ending_of(killed, log) == "ended by SIGKILL"
    with log.open("a") as file:
        file.write(f"{said}\nsrun: error: vm: task 0: Killed\n")
    assert queue.ending_of(killed, log) == "SLURM: OUT_OF_MEMORY"
    assert queue.ending_of(None, log) == "SLURM: OUT_OF_MEMORY"
    assert queue.ending_of(None, None) == "SLURM does not know its job any more"


def test_a_controller_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    printing(monkeypatch, "", code=1)
    assert queue.jobs() is None
    assert "squeue: slurm_load_jobs error: no controller" in caplog.text


def test_a_machine_without_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert queue.jobs() is None


def test_many_jobs_are_cancelled_by_few_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = printing(monkeypatch, "")
    queue.cancel((str(number) for number in range(1001)), "--signal=TERM")
    assert [len(command) - 3 for command in commands] == [500, 500, 1]
    assert commands[0][:4] == ["scancel", "--quiet", "--signal=TERM", "0"]
    queue.cancel([])
    assert len(commands) == 3


@pytest.mark.parametrize(
    ("text", "steps"), [('{"steps_made": 7}', 7), ("{}", 0), ('{"steps_made": null}', 0), ("{", 0)]
)
def test_steps_of_a_record(text: str, steps: int, tmp_path: Any) -> None:
    (tmp_path / "run.json").write_text(text)
    assert steps_of(tmp_path / "run.json") == steps
    assert steps_of(tmp_path / "none.json") == 0


@pytest.mark.parametrize(("time", "is_preempted"), [("None", False), ("2026-11-29T14:03:00", True)])
def test_a_preempted_job(time: str, is_preempted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "48")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "46")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    commands = printing(monkeypatch, f"JobId=48 PreemptEligibleTime=2026-11-29T14:01:01 PreemptTime={time}\n")
    assert _is_preempted() == is_preempted
    assert commands == [["scontrol", "show", "job", "46_2"]]
