"""The coordinator decides from the folders alone: killed anywhere, it ends with the same members."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lighter.errors import StorageError
from lighter.experiments import coordinator as module
from lighter.experiments.coordinator import Coordinator
from lighter.experiments.executors.base import MEMBER_LOCK, Task
from lighter.experiments.folder import ExperimentFolder, holder
from lighter.experiments.member_files import read_members, trials_of, write_member
from lighter.experiments.schedule import Asha, Schedule
from lighter.experiments.trials import Member, Objective, Trial, Values
from lighter.files.lock import owned
from lighter.processes.identity import started, this_process
from tests.experiments.fakes import FakeExecutor, loss_of, write_record

LOSS = Objective("val/loss/epoch")


class Search:
    """Values that depend on all that is known, as a model-based search has it."""

    def suggest(self, number: int, history: Sequence[Trial]) -> Values | None:
        known = [(trial.number, trial.reached, trial.objectives(trial.reached or 0)) for trial in history]
        return {"model::lr": repr((number, known))}


@dataclass
class Asked:
    trials: int = 9
    seeds: tuple[int, ...] = (1, 2)
    folds: tuple[int | None, ...] = (None,)
    schedule: Schedule = Asha(LOSS, "trainer::max_epochs", (1.0, 3.0, 9.0), limit=9)  # noqa: RUF009 frozen
    objectives: tuple[Objective, ...] = (LOSS,)
    retries: int = 0
    parameters: tuple[()] = ()
    search: Any = Search()  # noqa: RUF009 it has no state

    def inputs(self, config: Path, member: Member) -> list[str]:
        return [str(config)]


def run(folder: Path, asked: Asked, executor: FakeExecutor, **arguments: Any) -> Coordinator:
    coordinator = Coordinator(ExperimentFolder(folder), asked, executor, **arguments)  # type: ignore[arg-type]
    assert coordinator.run()
    return coordinator


def members(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/member.json"))]


@pytest.mark.parametrize("workers", [1, 3])
def test_all_that_is_asked_for_runs_once(workers: int, tmp_path: Path) -> None:
    executor = FakeExecutor(workers)
    run(tmp_path, Asked(), executor)
    assert max(Counter(executor.starts).values()) == 1
    trials = trials_of(read_members(tmp_path))
    assert [trial.number for trial in trials] == list(range(9))
    assert all(len(trial.members) == 2 for trial in trials)
    assert sorted(trial.reached for trial in trials if trial.reached is not None)[-1] == 2
    if workers == 1:
        assert [trial.target for trial in trials].count(2) == 1
        assert [trial.target for trial in trials].count(1) == 2


class KilledError(Exception):
    pass


def dying(method: Callable[..., Any], at: list[int]) -> Callable[..., Any]:
    """Raise after or before a call, once the countdown is over."""

    def call(*args: Any, **kwargs: Any) -> Any:
        at[0] -= 1
        if at[0] == 0:
            raise KilledError
        result = method(*args, **kwargs)
        at[0] -= 1
        if at[0] == 0:
            raise KilledError
        return result

    return call


@pytest.mark.parametrize("moment", range(1, 30, 3))
def test_it_takes_over_what_an_executor_still_runs(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor, countdown = FakeExecutor(workers=3), [moment]
    with monkeypatch.context() as patch:
        patch.setattr(executor, "ended", dying(executor.ended, countdown))
        with pytest.raises(KilledError):
            run(tmp_path, Asked(), executor)
    assert executor.running
    run(tmp_path, Asked(), executor)  # it refuses a member that it runs already
    assert max(Counter(executor.starts).values()) == 1


@pytest.mark.parametrize("moment", range(1, 150, 7))
def test_killed_anywhere_it_takes_the_same_decisions(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one worker: the same members with the same values and results, byte for byte."""
    run(tmp_path / "whole", Asked(), FakeExecutor())
    countdown = [moment]
    monkeypatch.setattr(module, "write_member", dying(module.write_member, countdown))
    executor = FakeExecutor()
    monkeypatch.setattr(executor, "start", dying(executor.start, countdown))
    monkeypatch.setattr(executor, "train", dying(executor.train, countdown))
    kills = 0
    while True:
        try:
            run(tmp_path / "killed", Asked(), executor)
            break
        except KilledError:
            kills += 1
            executor.stop()
            countdown[0] = moment + kills
    assert kills or moment > 100
    assert members(tmp_path / "killed") == members(tmp_path / "whole")


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()


def test_a_failure_stops_no_other(tmp_path: Path) -> None:
    def loss(name: str, epochs: float) -> float | str:
        return "it broke" if name == "trial-0003-seed-2" else loss_of(name, epochs)

    run(tmp_path, Asked(), FakeExecutor(loss=loss))
    (failed,) = [member for member in members(tmp_path) if member["error"]]
    assert (failed["trial"], failed["seed"], failed["error"]) == (3, 2, "it broke")
    assert len(members(tmp_path)) == 18


def test_a_failure_is_tried_again(tmp_path: Path) -> None:
    fails = iter(["once", "twice"])

    def loss(name: str, epochs: float) -> float | str:
        return next(fails, None) or loss_of(name, epochs)

    run(tmp_path, Asked(trials=1, retries=2, schedule=Schedule(LOSS)), FakeExecutor(loss=loss))
    assert [member["attempts"] for member in members(tmp_path)] == [2, 0]
    assert not any(member["error"] for member in members(tmp_path))


def test_more_retries_start_what_has_failed_again(tmp_path: Path) -> None:
    plain = Schedule(LOSS)
    run(tmp_path, Asked(trials=2, schedule=plain), FakeExecutor(loss=lambda name, epochs: "a mistake, mended since"))
    executor = FakeExecutor()
    run(tmp_path, Asked(trials=2, schedule=plain), executor)
    assert not executor.starts
    run(tmp_path, Asked(trials=2, schedule=plain, retries=1), executor)
    assert len(executor.starts) == 4
    assert [(member["attempts"], member["error"]) for member in members(tmp_path)] == [(1, None)] * 4


def test_a_process_that_always_dies_is_given_up(tmp_path: Path) -> None:
    run(tmp_path, Asked(trials=1, seeds=(1,)), FakeExecutor(loss=lambda name, epochs: None))
    (member,) = members(tmp_path)
    assert "times at one step" in member["error"]


def test_a_member_that_finds_the_disk_full_ends_the_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All members would fail, and have not failed once there is room."""
    executor = FakeExecutor(loss=lambda name, epochs: None)
    ended = executor.ended
    monkeypatch.setattr(
        executor, "ended", lambda timeout: [replace(one, reason="exit code 74", code=74) for one in ended(timeout)]
    )
    with pytest.raises(StorageError, match=r"trial-0000-seed-1 cannot be written to"):
        run(tmp_path, Asked(trials=1), executor)
    assert len(executor.starts) == 1
    run(tmp_path, Asked(trials=1), FakeExecutor())
    assert not any(member["error"] for member in members(tmp_path))


def test_an_objective_that_is_not_logged(tmp_path: Path) -> None:
    asked = Asked(trials=1, seeds=(1,), objectives=(Objective("val/los/epoch"),))
    run(tmp_path, asked, FakeExecutor())
    (member,) = members(tmp_path)
    assert member["error"].startswith("val/los/epoch was not logged")
    assert "val/loss/epoch" in member["error"]


def test_more_is_asked_for_later(tmp_path: Path) -> None:
    plain = Asked(trials=2, schedule=Schedule(LOSS))
    executor = FakeExecutor()
    run(tmp_path, plain, executor)
    before = len(executor.starts)
    run(tmp_path, Asked(trials=3, seeds=(1, 2, 3), schedule=Schedule(LOSS)), executor)
    new = [name for name, _ in executor.starts[before:]]
    assert sorted(new) == ["trial-0000-seed-3", "trial-0001-seed-3", *(f"trial-0002-seed-{n}" for n in (1, 2, 3))]


def test_a_stop(tmp_path: Path) -> None:
    executor = FakeExecutor(workers=2)
    stops = iter([False, False, True])
    coordinator = Coordinator(ExperimentFolder(tmp_path), Asked(), executor, is_stopped=lambda: next(stops, True))  # type: ignore[arg-type]
    assert not coordinator.run()
    run(tmp_path, Asked(), executor)
    assert len(members(tmp_path)) == 18


def test_a_stop_reaches_members_of_an_earlier_coordinator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are known by their locks; a record may have the process of an earlier start, and its id be another's."""
    folder, first = ExperimentFolder(tmp_path), Asked(trials=1, seeds=(1,))
    Coordinator(folder, first, FakeExecutor())._start_members()  # type: ignore[arg-type]
    home = tmp_path / "trial-0000-seed-1"
    write_record(home, "running", 0, {})
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        facts = {**this_process(), "pid": other.pid, "process_started": started(other.pid), "since": "now"}
        (home / MEMBER_LOCK).write_text(json.dumps(facts))
        monkeypatch.setattr(module, "is_held", lambda lock: other.poll() is None)
        coordinator = Coordinator(folder, first, FakeExecutor(), is_stopped=lambda: True)  # type: ignore[arg-type]
        assert not coordinator.run()
    assert other.returncode == -signal.SIGTERM
    facts["process_started"] = "long ago"
    (home / MEMBER_LOCK).write_text(json.dumps(facts))
    assert holder(home / MEMBER_LOCK) is None


def test_an_end_that_nobody_noted(tmp_path: Path) -> None:
    """The coordinator was killed while a member ran, which ended by itself."""
    executor = FakeExecutor()
    coordinator = Coordinator(ExperimentFolder(tmp_path), Asked(trials=1, schedule=Schedule(LOSS)), executor)  # type: ignore[arg-type]
    coordinator._start_members()
    task: Task = executor.running.pop()
    write_record(Path(task.folder), "finished", 9, {"val/loss/epoch": 0.5})
    later = FakeExecutor()
    run(tmp_path, Asked(trials=1, schedule=Schedule(LOSS)), later)
    assert [name for name, _ in later.starts] == ["trial-0000-seed-2"]
    assert members(tmp_path)[0]["results"] == {"0": [0.5]}


def test_a_member_that_somebody_resumes_by_hand(tmp_path: Path) -> None:
    """The experiment waits for it, runs the others, and takes its results."""
    asked = Asked(trials=1)
    home = tmp_path / "trial-0000-seed-1"
    write_member(tmp_path, Member(0, 1, None, {}, results={0: (0.5,)}))
    write_record(home, "running", 2, {})
    executor = FakeExecutor(workers=2)
    with owned(home, "by hand"):
        coordinator = Coordinator(ExperimentFolder(tmp_path), asked, executor)  # type: ignore[arg-type]
        assert [member.name for member in coordinator.running] == [home.name]
        coordinator._add_members(coordinator.trials[0])
        coordinator._start_members()
        assert [name for name, _ in executor.starts] == ["trial-0000-seed-2"]
        coordinator.wait(0)
        # a stop neither waits for it nor ends it
        coordinator._stop_adopted()
        assert not coordinator.running
    write_record(home, "finished", 9, {"val/loss/epoch": 0.25})
    run(tmp_path, asked, executor)
    assert [name for name, _ in executor.starts].count(home.name) == 0
    assert members(tmp_path)[0]["results"]["2"] == [0.25]


def test_the_numbers_of_trials_whose_folders_were_removed(tmp_path: Path) -> None:
    plain = Asked(trials=3, seeds=(1,), schedule=Schedule(LOSS))
    run(tmp_path, plain, FakeExecutor())
    last = (tmp_path / "trial-0002-seed-1/member.json").read_text()
    shutil.rmtree(tmp_path / "trial-0001-seed-1")
    executor = FakeExecutor()
    run(tmp_path, plain, executor)
    assert [name for name, _ in executor.starts] == ["trial-0001-seed-1"]
    assert (tmp_path / "trial-0002-seed-1/member.json").read_text() == last
