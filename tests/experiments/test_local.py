"""Members in processes of this machine, and what is left of them when the server of theirs is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lighter.errors import RunError
from lighter.experiments.executors import local
from lighter.experiments.executors.base import WORKER_LOG, Ended
from lighter.experiments.executors.local import LocalExecutor
from lighter.processes.identity import started
from tests.commands import ROOT
from tests.experiments.stand_ins import COUNTED, task_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="members are forked")


@pytest.fixture
def executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalExecutor]:
    with made(tmp_path, monkeypatch) as executor:
        yield executor


def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imports: float = 0.0) -> LocalExecutor:
    """Make an executor whose server imports for some seconds."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(local, "SERVER", "tests.experiments.local_server")
    config = tmp_path / "config.yaml"
    config.write_text(str(imports))
    return LocalExecutor(config, workers=3, cpus=1)


def wait_until(holds: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def all_ended(executor: LocalExecutor, number: int) -> dict[str, Ended]:
    ended: list[Ended] = []
    until = time.monotonic() + 60
    while len(ended) < number:
        assert time.monotonic() < until
        ended += executor.ended(0.2)
    return {each.folder.name: each for each in ended}


def steps(folder: Path) -> list[str]:
    path = folder / COUNTED
    return path.read_text().splitlines() if path.exists() else []


def status(folder: Path) -> str:
    return str(json.loads((folder / "run.json").read_text())["status"])


def begun(executor: LocalExecutor, folders: Sequence[Path]) -> None:
    """Start members that count for a minute, and wait until they do."""
    for folder in folders:
        executor.start(task_of(folder, "count", "600"))
    wait_until(lambda: executor.ended(0.0) or all(steps(folder) for folder in folders))


def pid_of(folder: Path) -> int:
    return int(steps(folder)[-1].split()[1])


def test_how_members_end(executor: LocalExecutor, tmp_path: Path) -> None:
    executor.start(task_of(tmp_path / "whole", "count", "2", "0.01"))
    executor.start(task_of(tmp_path / "failed", "exit", "3"))
    executor.start(task_of(tmp_path / "killed", "kill"))
    assert executor.free() == 0
    ended = all_ended(executor, 3)
    assert {name: each.reason for name, each in ended.items()} == {
        "whole": "exit code 0",
        "failed": "exit code 3",
        "killed": "killed by SIGKILL",
    }
    assert executor.free() == 3
    assert status(tmp_path / "whole") == "finished"
    assert (tmp_path / "whole" / WORKER_LOG).exists()


def test_a_killed_server_is_replaced(executor: LocalExecutor, tmp_path: Path) -> None:
    """Its members run on, and are the coordinator's to watch."""
    begun(executor, [tmp_path / "one"])
    executor._server.kill()
    executor.start(task_of(tmp_path / "lost", "count", "1"))
    ended = all_ended(executor, 2)
    assert all(each.is_busy for each in ended.values())
    before = len(steps(tmp_path / "one"))
    executor.start(task_of(tmp_path / "other", "count", "1", "0.01"))
    assert all_ended(executor, 1)["other"].reason == "exit code 0"
    wait_until(lambda: len(steps(tmp_path / "one")) > before)
    os.kill(pid_of(tmp_path / "one"), signal.SIGTERM)
    wait_until(lambda: started(pid_of(tmp_path / "one")) is None)
    assert steps(tmp_path / "lost") == []


def test_a_server_that_fails_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = made(tmp_path, monkeypatch)
    executor.config.write_text("no number")
    with executor, pytest.raises(RunError, match=r"ended by itself \(exit code 1\)"):
        all_ended(executor, 1)


def test_a_server_that_always_dies_is_not_replaced_for_ever(executor: LocalExecutor) -> None:
    def lost() -> None:
        executor._server.kill()
        executor._server.wait()
        executor.ended(1.0)

    for _ in range(5):
        lost()
    with pytest.raises(RunError, match=r"ended by itself \(killed by SIGKILL\)"):
        lost()


@pytest.mark.parametrize("is_killed", [False, True], ids=["server", "killed server"])
def test_a_stop_saves_all_members(is_killed: bool, executor: LocalExecutor, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    begun(executor, folders)
    if is_killed:
        executor._server.kill()
    executor.stop()
    assert [status(folder) for folder in folders] == ["interrupted"] * 2
    assert [started(pid_of(folder)) for folder in folders] == [None] * 2
    executor._server.wait()
    assert executor.ended(0.0) == []


def test_a_signal_to_all_processes(executor: LocalExecutor, tmp_path: Path) -> None:
    """SLURM sends it so, or a service manager: the server still tells how the members ended."""
    folders = [tmp_path / "one", tmp_path / "two"]
    begun(executor, folders)
    for pid in (executor._server.pid, *map(pid_of, folders)):
        os.kill(pid, signal.SIGTERM)
    assert {each.reason for each in all_ended(executor, 2).values()} == {"exit code 143"}
    assert executor._server.poll() is None


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_members_of_a_coordinator_that_is_gone_do_not_start(
    is_killed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has not read what it asked for: the next coordinator will."""
    with made(tmp_path, monkeypatch, imports=1.0) as executor:
        executor.start(task_of(tmp_path / "one", "count", "1", "0.01"))
        if is_killed:
            executor._connection.close()
            executor._tasks.clear()
    assert executor._server.wait() == 0
    assert steps(tmp_path / "one") == []
