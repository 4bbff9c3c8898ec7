"""The state of an experiment whose coordinator is a job of SLURM."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from lighter.cli import cli
from lighter.experiments.coordinator_job import LAUNCH, job_of, note_start, note_submission, refuse_second
from lighter.experiments.folder import ExperimentFolder
from lighter.experiments.status import read_experiment
from lighter.files.lock import owned
from lighter.files.run_folder import JOBS
from lighter.processes import slurm_queue
from lighter.processes.slurm import JOB
from lighter.processes.slurm_queue import Job
from tests.cli.test_json import valid
from tests.experiments.jobs import make_experiment

NAME = "14-03-55-digits.0123abcd"
ROOT = Path("outputs")


class Queue:
    """What SLURM says of the job: nothing that is known, until a state is set."""

    def __init__(self) -> None:
        self.answer: tuple[Job | None, bool] = (None, True)

    def says(self, state: str, reason: str = "None", status: int = 0) -> None:
        self.answer = Job("17", state, str(status), reason, NAME), True

    def find(self, name: str, user: int | None) -> tuple[Job | None, bool]:
        assert (name, user) == (NAME, os.getuid())
        return self.answer


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    queue = Queue()
    monkeypatch.setattr(slurm_queue, "find", queue.find)
    monkeypatch.delenv(JOB, raising=False)
    return queue


@pytest.fixture
def folder(own_place: Path, queue: Queue) -> Path:
    """An experiment that is not complete, whose coordinator was launched."""
    folder = make_experiment(ROOT, asked=12)
    note_submission(folder, {"kind": "slurm", "name": NAME, "user": os.getuid(), "job": "17"})
    return folder


def lighter(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, ["experiment", *words], env={"COLUMNS": "140"})
    assert done.exit_code == code, done.output
    return done.output


def starts_in_its_job(folder: Path, monkeypatch: pytest.MonkeyPatch, restarts: int) -> None:
    with monkeypatch.context() as job:
        variables = {JOB: NAME, "SLURM_JOB_ID": "17", "SLURM_RESTART_COUNT": str(restarts)}
        for name, value in variables.items():
            job.setenv(name, value)
        refuse_second(folder)
        note_start(folder)


def state(folder: Path) -> str:
    """The state in the list, in the table of one and in the JSON of both, which are the same."""
    overview = read_experiment(ExperimentFolder(folder))
    shown = f"{overview.state} ({overview.reason})" if overview.reason else overview.state
    assert f"  {shown}  " in lighter("list").splitlines()[1]
    (row,) = (line for line in lighter("status", "last").splitlines() if line.startswith("state "))
    assert row.removeprefix("state").strip() == shown
    (listed,) = json.loads(lighter("list", "--json"))
    of_one = valid("experiment.status", lighter("status", "last", "--json"))
    for facts in (listed, of_one):
        assert (facts["state"], facts["reason"]) == (overview.state, overview.reason)
        assert facts["job"]["job"] == "17"
    return shown


def test_states_are_those_of_the_queue(folder: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.says("PENDING", "Priority")
    assert state(folder) == "pending (Priority)"
    queue.says("RUNNING")
    assert state(folder) == "running"
    starts_in_its_job(folder, monkeypatch, 0)
    queue.says("PENDING", "BeginTime")
    assert state(folder) == "requeued (BeginTime)"
    queue.says("TIMEOUT")
    assert state(folder) == "stopped (SLURM: TIMEOUT)"
    queue.says("FAILED", "NonZeroExitCode", 2 << 8)
    assert state(folder) == "stopped (exit code 2)"
    queue.says("COMPLETED")
    assert state(folder) == "stopped"
    queue.answer = None, True
    assert state(folder) == "stopped (SLURM does not know its job any more)"
    (folder / JOBS).mkdir()
    (folder / JOBS / "17_0_log.out").write_text("slurmstepd: error: Detected 1 oom_kill event in StepId=17.0.\n")
    assert state(folder) == "stopped (SLURM: OUT_OF_MEMORY)"
    queue.answer = None, False
    assert state(folder) == "stopped"
    assert json.loads(lighter("list", "--json"))[0]["job"]["state"] == "unknown"


def test_a_complete_experiment_is_finished_whatever_became_of_its_job(own_place: Path, queue: Queue) -> None:
    folder = make_experiment(ROOT)
    note_submission(folder, {"name": NAME, "user": os.getuid(), "job": "17"})
    queue.says("TIMEOUT")
    assert state(folder) == "finished"


def test_the_job_is_shown(folder: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.says("RUNNING")
    assert f"17 of SLURM, {NAME}" in lighter("status", "last")
    starts_in_its_job(folder, monkeypatch, 2)
    assert f"17 of SLURM, requeued 2 times, {NAME}" in lighter("status", "last")
    facts = json.loads(lighter("status", "last", "--json"))["job"]
    assert facts == {"job": "17", "name": NAME, "state": "running", "reason": "", "restarts": 2}


def test_one_that_was_not_launched_has_no_job(own_place: Path) -> None:
    folder = make_experiment(ROOT, asked=12)
    assert job_of(folder) is None
    assert "of SLURM" not in lighter("status", "last")
    facts = json.loads(lighter("status", "last", "--json"))
    assert (facts["state"], facts["reason"], facts["job"]) == ("stopped", "", None)


@pytest.mark.parametrize("damaged", ["", "[]", "{}", '{"name": 3}'])
def test_a_damaged_file_is_none(damaged: str, folder: Path) -> None:
    (folder / LAUNCH).write_text(damaged)
    assert job_of(folder) is None


@pytest.mark.parametrize(("now", "said"), [("PENDING", "waits in SLURM (Priority)"), ("RUNNING", "runs in SLURM")])
def test_beside_a_live_job_none_starts(now: str, said: str, folder: Path, queue: Queue) -> None:
    queue.says(now, "Priority" if now == "PENDING" else "None")
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    shown = lighter("resume", "last", "experiment::search::trials=20", code=2)
    assert f"the job of this experiment's coordinator {said}. First: scancel 17" in " ".join(shown.split())
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert f"coordinator's job {said}. To cancel: scancel 17" in " ".join(lighter("stop", "last").split())


def test_in_its_own_job_the_queue_is_not_asked(folder: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.says("RUNNING")
    monkeypatch.setenv(JOB, NAME)
    refuse_second(folder)
    with owned(folder, "it"):
        assert read_experiment(ExperimentFolder(folder)).state == "running"


def test_a_coordinator_that_starts_elsewhere_is_no_job_any_more(folder: Path, queue: Queue) -> None:
    queue.says("TIMEOUT")
    refuse_second(folder)
    note_start(folder)
    assert job_of(folder) is None
