"""One process at a time has a run, and its lock ends with it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lighter.errors import RunError
from lighter.files import lock
from lighter.files.lock import LOCK, acquire, owned, release, waited_for
from lighter.files.run_folder import claim
from tests.forks import exit_code, fork

HOLDS = """
import os, sys, time
from pathlib import Path
from lighter.files import lock
parent = os.getpid()
with lock.owned(Path(sys.argv[1]), "the run"):
    if sys.argv[2] == "slow":  # a child that has not come to closing its copy yet
        copy = os.dup(*lock._descriptors.values())
    pid = os.fork() if sys.argv[2] != "alone" else 0
    if pid or sys.argv[2] == "alone":
        print(pid, flush=True)
    elif sys.argv[2] == "slow":
        while os.getppid() == parent:
            time.sleep(0.01)
        time.sleep(0.5)
        os.close(copy)
    time.sleep(60)
"""


def holder(folder: Path, how: str = "alone") -> tuple[subprocess.Popen[str], int]:
    """A process that has a run; and its child, if it has one."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, folder, how], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_the_second_is_told_who_has_it_and_changes_nothing(tmp_path: Path) -> None:
    process, _ = holder(tmp_path)
    try:
        before = [(path.name, path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()]
        match = rf"^the run is running \(process {process.pid} on \S+, since \d{{4}}-.*\); two processes cannot share"
        with pytest.raises(RunError, match=match), owned(tmp_path, "the run"):
            pass
        assert [(path.name, path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()] == before
        assert [name for name, *_ in before] == [LOCK]
        shutil.copytree(tmp_path, tmp_path / "copy")
        with owned(tmp_path / "copy", "a copy"):
            pass
    finally:
        process.kill()
        process.communicate()
    with owned(tmp_path, "the run"):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process is forked here")
@pytest.mark.parametrize("how", ["fork", "slow"])
def test_it_ends_with_its_process_though_children_live_on(tmp_path: Path, how: str) -> None:
    process, child = holder(tmp_path, how)
    try:
        process.kill()
        process.wait()
        os.kill(child, 0)  # it is there
        with owned(tmp_path, "the run"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        process.communicate()


def test_it_outlives_who_reads_the_file_and_children_that_end(tmp_path: Path) -> None:
    with owned(tmp_path, "the run"):
        (tmp_path / LOCK).read_bytes()
        assert exit_code(fork(lambda: release(tmp_path / LOCK, remove=True))) == 0  # it has none
        with pytest.raises(RunError, match=f"process {os.getpid()}"), owned(tmp_path, "the run"):
            pass
    assert list(tmp_path.iterdir()) == []
    with owned(tmp_path, "the run"):
        pass


def test_other_ranks_do_not_ask_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with owned(tmp_path, "the run"):
        monkeypatch.setenv("LOCAL_RANK", "1")
        with owned(tmp_path, "the run"):
            pass
        monkeypatch.delenv("LOCAL_RANK")
        with pytest.raises(RunError), owned(tmp_path, "the run"):
            pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any, code: int
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with owned(tmp_path, "the run"):
        assert list(tmp_path.iterdir()) == []
    [record] = caplog.records
    assert "is on a file system without locks: only its record tells who uses the run" in record.getMessage()


def test_a_name_that_was_taken_away_meanwhile_is_locked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, flock, seen = tmp_path / LOCK, lock._flock, []

    def removed_before(descriptor: int) -> bool:
        if not seen:
            path.unlink()
        seen.append(descriptor)
        return flock(descriptor)

    monkeypatch.setattr(lock, "_flock", removed_before)
    assert acquire(path)
    assert len(seen) == 2
    with pytest.raises(BlockingIOError):
        acquire(path)
    release(path)
    with pytest.raises(FileNotFoundError):
        acquire(tmp_path / "nothing", create=False)


def test_a_lock_is_no_artefact(tmp_path: Path) -> None:
    folder = claim(tmp_path, "x")
    with owned(folder.path, folder.id):
        folder.abandon()
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_waited_for(tmp_path: Path) -> None:
    def holds() -> None:
        with waited_for(tmp_path / "lock"):
            (tmp_path / "begun").touch()
            time.sleep(0.3)
            (tmp_path / "done").touch()

    pid = fork(holds)
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    with waited_for(tmp_path / "lock"):
        assert (tmp_path / "done").exists()
    assert exit_code(pid) == 0
