"""`--launch slurm` against a real SLURM, where there is one. 20 preemptions: `tests/faults/inject_preemptions.py`."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lighter.processes import slurm_queue as queue
from lighter.runs.read import read_run
from tests.commands import LIGHTER, ROOT
from tests.experiments.fits import config_file, waits, weights
from tests.slurm_node import hurry, live, reason_to_skip, tell

pytest.importorskip("submitit")
pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())]
LATE = 300.0


@pytest.fixture
def desk(own_place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the config of a slow fit; jobs that were launched from it are cancelled."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # the jobs of tests that run at once in other folders have other names
    config_file(own_place, 0.0, waits_at=15)
    (own_place / "config.yaml").rename(own_place / f"desk{os.getpid()}.yaml")
    yield own_place
    queue.cancel(job.id for job in (queue.jobs() or {}).values() if f"-desk{os.getpid()}" in job.name)


def lighter(*words: str, code: int = 0) -> str:
    # not by `tests.commands`: a job inherits the environment of the command that submits it
    done = subprocess.run([LIGHTER, *words], capture_output=True, text=True, timeout=LATE)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def launch(*words: str) -> Path:
    """Launch a fit; return its folder."""
    lighter("fit", f"desk{os.getpid()}.yaml", "--launch", "slurm", *words)
    (folder,) = Path("outputs").glob("*/*")
    return folder.absolute()


def end(folder: Path, act: Callable[[], object] = lambda: None) -> None:
    """Wait for the end of a job, and let it begin at once when it is requeued."""
    late = time.monotonic() + LATE
    while live(folder.name):
        assert time.monotonic() < late, (live(folder.name), printed(folder))
        act()
        hurry(folder.name)
        time.sleep(0.3)


def wait_until(holds: Callable[[], object], folder: Path) -> None:
    late = time.monotonic() + LATE
    while not holds():
        assert time.monotonic() < late, printed(folder)
        assert live(folder.name), printed(folder)
        time.sleep(0.3)


def signal_each_member(folder: Path) -> Callable[[], None]:
    """A function that sends a signal to a job whenever another of its members waits for one."""
    told = {path for path in folder.glob("*") if waits(path)}

    def act() -> None:
        waiting = {path for path in folder.glob("*") if waits(path)}
        if waiting - told:
            told.update(waiting)
            tell(live(folder.name)[0].id)

    return act


def printed(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("slurm/*.out")))


def signal_once(folder: Path, signal: str) -> Callable[[], None]:
    """A function that sends a signal to a job when its fit has made some steps."""
    told: list[str] = []

    def act() -> None:
        jobs = live(folder.name)
        if not told and jobs and waits(folder):
            told.append(jobs[0].id)
            tell(told[0], signal) if signal else queue.cancel(told)

    return act


def starts(folder: Path) -> list[str]:
    run = read_run(folder)
    return [*(start["status"] for start in run.facts.get("starts") or []), run.status]


def test_at_its_time_limit_a_fit_is_requeued_and_has_the_bits_of_one_that_was_not(desk: Path) -> None:
    folder = launch("--requeue")
    end(folder, signal_once(folder, "USR1"))
    assert starts(folder) == ["interrupted", "finished"], printed(folder)
    lighter("fit", f"desk{os.getpid()}.yaml", "run::dir=alone", "trainer::callbacks=null")
    (alone,) = Path("alone").glob("*/*")
    assert weights(folder) == weights(alone)
    assert (folder / "metrics.csv").read_text() == (alone / "metrics.csv").read_text()
    assert [path.name for path in Path("outputs").glob("*/*")] == [folder.name]


def test_without_requeue_it_is_saved_and_a_resume_is_launched_with_another_config(desk: Path) -> None:
    folder = launch("trainer::max_epochs=3")
    end(folder, signal_once(folder, "USR1"))
    assert starts(folder) == ["interrupted"]
    assert "The job is not requeued" in printed(folder)
    shown = lighter("resume", str(folder), "trainer::max_epochs=2", "--launch", "slurm", "--requeue")
    assert f"in {folder}" in shown
    end(folder)
    assert starts(folder) == ["interrupted", "finished"], printed(folder)
    assert read_run(folder).facts["progress"] == {"epoch": 2, "step": 20}
    assert "max_epochs: 2" in (folder / "config.yaml").read_text()


def test_scancel_saves_and_does_not_requeue(desk: Path) -> None:
    folder = launch("--requeue")
    end(folder, signal_once(folder, ""))
    assert starts(folder) == ["interrupted"], printed(folder)
    assert (folder / "checkpoints/last.ckpt").is_file()


def test_a_fit_that_fails_is_not_requeued(desk: Path) -> None:
    folder = launch("--requeue", "=trainer::callbacks=[{_target_: tests.launch.jobs.Fails}]")
    end(folder)
    run = read_run(folder)
    assert (run.status, run.facts["error"]["type"]) == ("failed", "ZeroDivisionError"), printed(folder)
    assert not run.facts.get("starts")
    assert "Traceback" in printed(folder)


def test_tasks_of_slurm_are_the_processes_of_the_fit(desk: Path) -> None:
    options = "launch::options={overcommit: true}"  # a node of two cores may have other jobs
    folder = launch("--requeue", "launch::tasks=2", "trainer::devices=2", "trainer::strategy=ddp", options)
    end(folder, signal_once(folder, "USR1"))
    assert starts(folder) == ["interrupted", "finished"], printed(folder)
    facts = read_run(folder).facts
    assert facts["trainer"]["devices"] == 2
    log = (folder / "run.log").read_text()
    assert log.count("INFO lighter: finished") == 1
    assert [path.name for path in Path("outputs").glob("*/*")] == [folder.name]


def test_a_coordinator_as_a_job(desk: Path) -> None:
    words = [f"desk{os.getpid()}.yaml", "trainer::max_epochs=2", "--seeds", "2", "--workers", "1"]
    lighter("sweep", *words, "--launch", "slurm", "--requeue", "launch::cpus=1")
    (folder,) = (path.absolute() for path in Path("outputs/experiments").glob("*/*"))

    def status() -> dict[str, Any]:
        return json.loads(lighter("experiment", "status", str(folder), "--json"))

    wait_until(lambda: any(map(waits, folder.glob("*"))), folder)
    assert status()["state"] == "running"
    (job,) = live(folder.name)
    tell(job.id)
    wait_until(lambda: [each.state for each in live(folder.name)] == [queue.PENDING], folder)
    facts = status()
    assert (facts["state"], facts["job"]["job"], facts["job"]["state"]) == ("requeued", job.id, "requeued")
    lighter("experiment", "resume", str(folder), code=2)
    end(folder, signal_each_member(folder))
    facts = status()
    assert {read_run(path.parent).status for path in folder.glob("*/run.json")} == {"finished"}, printed(folder)
    assert len(list(folder.glob("*/run.json"))) == 2
    assert (facts["state"], facts["job"]["restarts"]) == ("finished", 2)
