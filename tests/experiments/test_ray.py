"""Members as tasks of a real Ray, which is started here for each test, where the package is installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lighter.experiments.executors.local import LocalExecutor
from lighter.runs.read import read_run
from tests.commands import ROOT
from tests.experiments.fits import config_file, fit_of, weights
from tests.experiments.stand_ins import steps

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.slow


def coordinator(job: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.experiments.ray_jobs", job, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, cwd=folder)


def seen_by(job: str, folder: Path) -> Any:
    done = coordinator(job, folder)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "Ray is not quiet"
    return json.loads(done.stdout)


def test_how_each_member_ended(tmp_path: Path) -> None:
    seen = seen_by("outcomes", tmp_path)
    reasons = {name: reason.partition(": The worker died")[0] for name, (reason, _) in seen["ended"].items()}
    assert reasons == {
        "member-0": "exit code 0",
        "member-1": "exit code 1",
        "member-2": "Ray: WorkerCrashedError",
        "member-3": "exit code 75",
        "member-4": "exit code 0",
    }
    assert [name for name, (_, is_busy) in seen["ended"].items() if is_busy] == ["member-3"]
    assert seen["free"] == len(os.sched_getaffinity(0))
    assert seen["handler"], "Ray's own handler of SIGTERM stayed in the coordinator"
    assert [int(number) for number, *_ in steps(tmp_path / "member-0")] == [1, 2, 3]
    shown = json.loads((tmp_path / "member-4/shown.json").read_text())
    assert shown["cwd"] == str(tmp_path)
    assert shown["variables"]["OMP_NUM_THREADS"] == "1"
    assert (tmp_path / "member-4/worker.log").read_text() == "printed by Python\nprinted by C\n"


def test_a_stop_saves_those_that_run_and_cancels_those_that_wait(tmp_path: Path) -> None:
    seen = seen_by("stop", tmp_path)
    begun = [number for number in range(3) if steps(tmp_path / f"member-{number}")]
    assert len(begun) == 2
    for number in range(3):
        reason = "exit code 130" if number in begun else "Ray: cancelled"
        assert seen["ended"][f"member-{number}"] == reason
    for number in begun:
        record = json.loads((tmp_path / f"member-{number}/run.json").read_text())
        assert record["status"] == "interrupted"
        assert record["progress"]["step"] == len(steps(tmp_path / f"member-{number}"))


def test_a_coordinator_that_is_killed_leaves_no_member_running(tmp_path: Path) -> None:
    assert coordinator("leave", tmp_path).returncode == -signal.SIGKILL
    pid = int(steps(tmp_path / "member")[0][1])
    until = time.monotonic() + 60
    while Path(f"/proc/{pid}/cwd").exists():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_fits_have_the_bits_of_those_that_nothing_interrupted(tmp_path: Path) -> None:
    plain, folder = tmp_path / "plain", tmp_path / "ray"
    for each, seconds in ((plain, 0.0), (folder, 0.1)):
        each.mkdir()
        config_file(each, seconds)
    with LocalExecutor(plain / "config.yaml", workers=1, cpus=1) as executor:
        executor.start(fit_of(plain / "member"))
        while not executor.ended(1.0):
            pass
    seen = seen_by("fits", folder)
    assert seen["seen"] == {"stopped": "exit code 130"}
    ended = {**seen["first"], **{f"{name} again": each for name, each in seen["second"].items()}}
    assert {name: reason for name, (reason, _) in ended.items()} == dict.fromkeys(
        ("stopped", "paused", "paused again", "two again"), "exit code 0"
    ), [(folder / name / "worker.log").read_text() for name in ("stopped", "paused", "two")]
    for name in ("stopped", "paused"):
        run = read_run(folder / name)
        assert run.status == "finished"
        assert len(run.facts["starts"]) == 1
        assert weights(folder / name) == weights(plain / "member")
    assert read_run(folder / "two").facts["trainer"]["devices"] == 2
