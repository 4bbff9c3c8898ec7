"""The budget counts what jobs took, whoever started and whatever ended them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from lighter.agents import jobs
from lighter.agents.budget import Budget
from lighter.errors import RunError
from lighter.processes.identity import this_process
from tests.results.jobs import make_fit

GONE = {**this_process(), "process_started": "0"}


ERRORS = json.dumps({"schema": "lighter.errors/1", "exit_code": 2, "errors": []})


def make_job(
    root: Path,
    number: int,
    *,
    kind: str = "fit",
    runs: int = 1,
    code: int | None = 0,
    seconds: float = 3600,
    allowed: float = 10.0,
    out: str = "",
) -> Path:
    folder = root / jobs.HOME / f"{number:04}"
    folder.mkdir(parents=True)
    facts = {"kind": kind, "words": ["lighter", kind], "runs": runs, "allowed": allowed, "began": time.time() - seconds}
    (folder / jobs.JOB).write_text(json.dumps({**facts, "process": GONE}))
    (folder / jobs.STDOUT).write_text(out)
    (folder / jobs.STDERR).write_text("")
    if code is not None:
        (folder / jobs.END).write_text(json.dumps({"code": code, "seconds": seconds, "stopped_by_budget": False}))
    return folder


def test_nothing_is_granted_without_a_budget(tmp_path):
    for budget in (Budget(tmp_path), Budget(tmp_path, 3), Budget(tmp_path, None, 1.0)):
        with pytest.raises(RunError, match="no budget to train with"):
            budget.granted()
    assert Budget(tmp_path, 3, 1.0).granted() == (3, 3600.0)


def test_what_was_used_is_not_granted_again(tmp_path):
    make_job(tmp_path, 1)
    make_job(tmp_path, 2, code=2, seconds=36, out=ERRORS)  # a mistake in the config: no fit began
    cost = json.dumps({"cost": {"candidate_fits": 4, "baseline_fits": 1}})
    make_job(tmp_path, 3, kind="try", runs=40, out=cost, code=11, seconds=36)
    budget = Budget(tmp_path, 7, 2.0)
    assert budget.public() == {
        "max_runs": 7,
        "max_hours": 2.0,
        "used_runs": 6,
        "used_hours": 1.02,
        "left_runs": 1,
        "left_hours": 0.98,
    }
    assert budget.granted()[0] == 1
    with pytest.raises(RunError, match="6 of 7 runs, and this takes 14"):
        budget.granted(14)
    with pytest.raises(RunError, match=r"used up: 6 of 6 runs$"):
        Budget(tmp_path, 6, 2.0).granted()
    with pytest.raises(RunError, match=r"1\.02 of 1\.0 hours"):
        Budget(tmp_path, 9, 1.0).granted()


@pytest.mark.parametrize(
    ("out", "allowed", "counted"),
    [("", 80.0, 80), ("", 50.0, 60), ("Traceback", 80.0, 80), ('{"status": "interrupted"}', 80.0, 60)],
    ids=["silent until it was killed", "beyond its limit", "no JSON", "ended without its supervisor"],
)
def test_a_killed_job_counts_for_all_that_it_was_granted(out, allowed, counted, tmp_path):
    folder = make_job(tmp_path, 1, kind="try", runs=14, code=None, seconds=100, allowed=allowed, out=out)
    now = time.time()
    for name in (jobs.JOB, jobs.STDOUT, jobs.STDERR):
        os.utime(folder / name, (now - 40, now - 40))
    job = jobs.find(tmp_path, None)
    assert (job.status, job.fits, round(job.seconds)) == ("lost", 14, counted)


def test_a_failed_try_counts_what_it_took(tmp_path):
    cost = {"candidate_fits": 1, "baseline_fits": 2}
    make_job(tmp_path, 1, kind="try", runs=40, code=1, out=json.dumps({**json.loads(ERRORS), "cost": cost}))
    make_job(tmp_path, 2, kind="try", runs=40, code=1, out=ERRORS)
    assert [job.fits for job in jobs.jobs_in(tmp_path)] == [3, 40]


def test_a_fit_that_trained_counts_whatever_its_exit_code(tmp_path):
    make_job(tmp_path, 1, code=2, out=json.dumps({"schema": "lighter.fit/1", "exit_code": 2}))
    make_job(tmp_path, 2, code=2, out="")
    folder = make_job(tmp_path, 3, code=2, out=ERRORS)
    (folder / jobs.STDERR).write_text("a warning\nfit, in outputs/a\n" + "an epoch\n" * 5000)
    assert [job.fits for job in jobs.jobs_in(tmp_path)] == [1, 1, 0]
    make_fit(tmp_path / "outputs/a", 0.5)
    job = jobs.find(tmp_path, 3)
    assert (job.fits, job.run_folder) == (1, tmp_path / "outputs/a")


def test_a_command_that_outlives_its_supervisor_is_running(tmp_path):
    folder = make_job(tmp_path, 1, code=None)
    (folder / jobs.CHILD).write_text(json.dumps(this_process()))
    assert jobs.find(tmp_path, 1).status == "running"
    (folder / jobs.CHILD).write_text(json.dumps(GONE))
    assert jobs.find(tmp_path, 1).status == "lost"


def wait(root: Path) -> jobs.Job:
    until = time.monotonic() + 60
    while jobs.find(root, None).status == "running":
        assert time.monotonic() < until
        jobs.reap()
        time.sleep(0.05)
    return jobs.find(root, None)


@pytest.mark.slow
def test_a_job_is_stopped_when_its_time_is_over(tmp_path):
    script = "import time\nprint('[1, 2]', flush=True)\ntime.sleep(60)"
    job = jobs.start(tmp_path, "fit", [sys.executable, "-c", script], runs=1, seconds=2)
    with pytest.raises(RunError, match="one trains at a time"):
        Budget(tmp_path, 9, 1.0).granted()
    ended = wait(tmp_path)
    assert ended.number == job.number == 1
    assert ended.end is not None
    assert ended.end["stopped_by_budget"]
    assert ended.end["code"] == -15
    assert ended.answer().result == [1, 2]


@pytest.mark.slow
def test_a_job_can_be_stopped(tmp_path):
    job = jobs.start(tmp_path, "fit", [sys.executable, "-c", "import time; time.sleep(60)"], runs=1, seconds=60)
    job.stop()  # it may not be ready for that yet
    ended = wait(tmp_path)
    assert (ended.status, (ended.end or {}).get("code")) == ("ended", -15)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does not tell children that their parent was killed")
def test_a_command_whose_supervisor_is_killed_stops(tmp_path):
    job = jobs.start(tmp_path, "fit", [sys.executable, "-c", "import time; time.sleep(60)"], runs=1, seconds=60)
    until = time.monotonic() + 60
    while not (job.folder / jobs.CHILD).is_file():
        assert time.monotonic() < until
        time.sleep(0.02)
    os.kill(job.process["pid"], signal.SIGKILL)
    assert wait(tmp_path).status == "lost"
    assert time.monotonic() < until
