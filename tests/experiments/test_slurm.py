"""Members as jobs of a real SLURM, where there is one: see `tests/slurm_node.py`."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lighter.errors import LaunchError
from lighter.experiments.executors.base import BUSY, Ended, Task
from lighter.experiments.executors.local import LocalExecutor
from lighter.experiments.executors.settings import SlurmSettings
from lighter.processes import slurm_queue as queue
from lighter.runs.read import read_run
from tests import slurm_node
from tests.commands import ROOT
from tests.experiments.fits import config_file, fit_of, waits, weights
from tests.experiments.stand_ins import steps, task_of
from tests.slurm_node import tell

WHY = slurm_node.reason_to_skip()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY), reason=WHY)]
STAND_IN = "tests.experiments.stand_ins:run_member"
LATE = 600.0


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def experiment(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / f"experiment-{os.getpid()}"
    folder.mkdir()
    yield folder
    queue.cancel(job.id for job in (queue.jobs() or {}).values() if job.name.startswith(folder.name))


def executor_of(folder: Path, entry: str = STAND_IN, **settings: object):
    from lighter.experiments.executors.slurm import SlurmExecutor

    return SlurmExecutor(SlurmSettings(**settings), folder, entry, poll=0.5)


def all_ended(executor, number: int, act: Callable[[], object] = lambda: None) -> dict[str, Ended]:
    ended: dict[str, Ended] = {}
    late = time.monotonic() + LATE
    while len(ended) < number:
        assert time.monotonic() < late, (ended, queue.jobs())
        act()
        ended |= {each.folder.name: each for each in executor.ended(0.5)}
    return ended


def wait_until(holds: Callable[[], object], executor) -> None:
    late = time.monotonic() + LATE
    while not holds():
        assert time.monotonic() < late, queue.jobs()
        assert not executor.ended(0.2)


def live(folder: Path) -> list[queue.Job]:
    return slurm_node.live(folder.name)


def hurry(folder: Path) -> None:
    slurm_node.hurry(folder.name)


def start(executor, tasks: Sequence[Task]) -> None:
    for task in tasks:
        executor.start(task)


def test_an_array_of_members_and_how_each_ended(experiment: Path) -> None:
    whats = [("count", "3"), ("exit", "1"), ("kill",), ("exit", str(BUSY)), ("show",)]
    with executor_of(experiment, workers=6, cpus=2) as executor:
        assert executor.free() == 6
        start(executor, [task_of(experiment / f"member-{number}", *what) for number, what in enumerate(whats)])
        assert executor.free() == 1
        ended = all_ended(executor, 5)
        assert executor.free() == 6
    assert [ended[f"member-{number}"].reason.partition(" (job")[0] for number in range(5)] == [
        *("exit code 0", "exit code 1", "ended by SIGKILL", f"exit code {BUSY}", "exit code 0")
    ]
    assert [ended[f"member-{number}"].is_busy for number in range(5)] == [False, False, False, True, False]
    assert len(list((experiment / "slurm").glob("*_submission.sh"))) == 1
    shown = json.loads((experiment / "member-4/shown.json").read_text())
    assert shown["cwd"] == str(experiment)
    assert {name: shown["variables"].get(name) for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK")} == {
        "OMP_NUM_THREADS": "2",
        "SLURM_CPUS_PER_TASK": "2",
    }
    assert (experiment / "member-4/worker.log").read_text() == "printed by Python\nprinted by C\n"


def test_a_coordinator_within_a_job_hands_nothing_of_it_on(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "1")
    monkeypatch.setenv("SLURM_NTASKS", "7")
    monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
    with executor_of(experiment, memory=200 * 2**20) as executor:
        start(executor, [task_of(experiment / "member", "show")])
        assert all_ended(executor, 1)["member"].reason.startswith("exit code 0")
    assert json.loads((experiment / "member/shown.json").read_text())["variables"]["SLURM_NTASKS"] == "1"


def test_a_job_whose_time_is_over_is_requeued_and_resumes(experiment: Path) -> None:
    member = experiment / "member"
    with executor_of(experiment) as executor:
        start(executor, [task_of(member, "count", "60")])
        wait_until(lambda: len(steps(member)) > 5, executor)
        tell(live(experiment)[0].id)
        ended = all_ended(executor, 1, lambda: hurry(experiment))
    assert ended["member"].reason.startswith("exit code 0")
    assert [int(number) for number, *_ in steps(member)] == [*range(1, 61)]
    assert {restarts for *_, restarts in steps(member)} == {"0", "1"}


def test_a_limit_of_a_minute(experiment: Path) -> None:
    member = experiment / "member"
    with executor_of(experiment, time=1) as executor:
        start(executor, [task_of(member, "count", "750")])
        ended = all_ended(executor, 1, lambda: hurry(experiment))
    assert ended["member"].reason.startswith("exit code 0")
    assert [int(number) for number, *_ in steps(member)] == [*range(1, 751)]
    assert len({restarts for *_, restarts in steps(member)}) > 1


def test_a_fit_without_progress_is_not_requeued_forever(experiment: Path) -> None:
    member = experiment / "member"
    with executor_of(experiment) as executor:
        start(executor, [task_of(member, "count", "1", "300")])
        wait_until(lambda: (member / "worker.log").exists(), executor)
        tell(live(experiment)[0].id)
        ended = all_ended(executor, 1)
    assert ended["member"].reason.startswith("ended by SIGUSR1 (job ")
    assert "its fit has made no step" in (member / "worker.log").read_text()


def test_a_stop_saves_those_that_run_and_cancels_those_that_wait(experiment: Path) -> None:
    members = [experiment / f"member-{number}" for number in range(2 * (os.cpu_count() or 1))]
    with executor_of(experiment) as executor:
        start(executor, [task_of(member, "count", "9999") for member in members])
        wait_until(lambda: any(len(steps(member)) > 3 for member in members), executor)
        executor.stop()
        assert not live(experiment)
        assert {each.folder for each in executor.ended(0)} == {*members}
    begun = [member for member in members if steps(member)]
    assert begun
    for member in begun:
        record = json.loads((member / "run.json").read_text())
        assert record == {"status": "interrupted", "progress": {"epoch": 0, "step": len(steps(member))}}


def test_a_requeued_job_is_stopped_too(experiment: Path) -> None:
    member = experiment / "member"
    with executor_of(experiment) as executor:
        start(executor, [task_of(member, "count", "9999")])
        wait_until(lambda: len(steps(member)) > 3, executor)
        tell(live(experiment)[0].id)
        wait_until(lambda: live(experiment)[0].state == queue.PENDING, executor)
    assert not live(experiment)


def test_the_next_coordinator_takes_over(experiment: Path) -> None:
    members = [experiment / f"member-{number}" for number in range(4)]
    first = executor_of(experiment)
    start(first, [task_of(member, "count", "30") for member in members[:3]])
    first.ended(0)
    start(first, [task_of(members[3], "exit", "0")])
    first.ended(0)
    del first  # as after a kill: nothing is told to anybody
    with executor_of(experiment, workers=5) as second:
        adopted = {*second.adopt()}
        assert {*members[:3]} <= adopted <= {*members}
        assert second.free() == 5 - len(adopted)
        assert {*all_ended(second, len(adopted))} == {member.name for member in adopted}
        assert not executor_of(experiment).adopt()
    assert all(len(steps(member)) == 30 for member in members[:3])


def test_a_list_without_jobs_is_nobodys(experiment: Path) -> None:
    """The coordinator was killed just before it submitted them."""
    (experiment / "slurm").mkdir()
    (experiment / "slurm/experiment.0123.json").write_text(json.dumps([str(experiment / "member")]))
    assert not executor_of(experiment).adopt()


def test_sbatch_says_what_is_wrong(experiment: Path) -> None:
    with executor_of(experiment, partition="nowhere") as executor:
        start(executor, [task_of(experiment / "member", "count", "1")])
        with pytest.raises(LaunchError, match=r"SLURM does not take the members' jobs: .*invalid partition"):
            executor.ended(0)


def test_a_set_up_that_fails_is_in_the_jobs_log(experiment: Path) -> None:
    with executor_of(experiment, setup=("module load nothing || exit 9",)) as executor:
        start(executor, [task_of(experiment / "member", "count", "1")])
        reason = all_ended(executor, 1)["member"].reason
    assert reason.startswith("exit code 9 (job ")
    assert "module" in Path(reason.rpartition(", ")[2].rstrip(")")).read_text()


def test_too_much_memory(experiment: Path) -> None:
    shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True).stdout
    if "OverMemoryKill" not in shown and "task/cgroup" not in shown:
        pytest.skip("this SLURM does not watch the memory of jobs")
    with executor_of(experiment, memory=300 * 2**20) as executor:
        start(executor, [task_of(experiment / "member", "fill", "600")])
        reason = all_ended(executor, 1)["member"].reason
    assert reason.startswith("SLURM: OUT_OF_MEMORY (job ")


def test_a_requeued_array_of_ten_ends_as_ten_fits_that_nothing_interrupted(experiment: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    config = config_file(plain, 0.0)
    with LocalExecutor(config, workers=2, cpus=1) as executor:
        tasks = [fit_of(plain / f"member-{seed}", f"seed={seed}") for seed in range(10)]
        ended: list[Ended] = []
        while tasks or len(ended) < 10:
            while tasks and executor.free():
                executor.start(tasks.pop())
            ended += executor.ended(1.0)
    config_file(experiment, 0.0, waits_at=15)
    told: set[str] = set()

    def interrupt_each_once() -> None:
        for job in live(experiment):
            folder = experiment / f"member-{job.index}"
            if job.id not in told and waits(folder):
                told.add(job.id)
                tell(job.id)
        hurry(experiment)

    with executor_of(experiment, "lighter.engine.member:run_member") as executor:
        start(executor, [fit_of(experiment / f"member-{seed}", f"seed={seed}") for seed in range(10)])
        reasons = all_ended(executor, 10, interrupt_each_once)
    assert len(told) == 10
    assert all(each.reason.startswith("exit code 0") for each in reasons.values()), reasons
    for seed in range(10):
        name = f"member-{seed}"
        run = read_run(experiment / name)
        assert run.status == "finished"
        assert [start["status"] for start in run.facts["starts"]] == ["interrupted"]
        assert weights(experiment / name) == weights(plain / name)
        assert run.metrics == read_run(plain / name).metrics


def test_a_member_of_two_processes_is_requeued(experiment: Path) -> None:
    config_file(experiment, 0.0, waits_at=15)
    member = experiment / "member"
    told = []

    def interrupt() -> None:
        if not told and waits(member):
            told.append(live(experiment)[0].id)
            tell(told[0])
        hurry(experiment)

    with executor_of(experiment, "lighter.engine.member:run_member", cpus=2) as executor:
        start(executor, [fit_of(member, "trainer::devices=2", "trainer::strategy=ddp")])
        reasons = all_ended(executor, 1, interrupt)
    assert reasons["member"].reason.startswith("exit code 0"), (member / "worker.log").read_text()
    run = read_run(member)
    assert run.status == "finished"
    assert run.facts["trainer"]["devices"] == 2
    assert [start["status"] for start in run.facts["starts"]] == ["interrupted"]
