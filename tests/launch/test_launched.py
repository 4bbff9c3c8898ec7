"""What a launched job runs, start by start, without a SLURM: `lighter.cli.launched` in a process of its own."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lighter.cli.launched import TASK
from lighter.processes.slurm import JOB
from lighter.runs.read import Run, read_run
from tests.commands import TESTS, Process, run_command
from tests.experiments.fits import waits
from tests.launch.test_launch import launched, lighter
from tests.launch.test_launch import slurm as slurm  # a fixture

pytest.importorskip("submitit")
pytestmark = pytest.mark.long


def environment(folder: Path) -> dict[str, str]:
    """What the newest job of a folder has in its environment: its task, as it was submitted."""
    name = read_run(folder).facts["launch"]["name"]
    tasks = [pickle.loads(path.read_bytes()).args[1] for path in folder.glob("slurm/*_submitted.pkl")]
    (task,) = (task for task in tasks if task["name"] == name)
    return {**TESTS, TASK: json.dumps(task), JOB: name}


def start(folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = run_command("-m", "lighter.cli.launched", environment=environment(folder), timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def newest() -> Path:
    return max(Path("outputs").glob("*/*"))


def history(run: Run) -> list[str]:
    return [*(start["status"] for start in run.facts.get("starts") or []), run.facts["status"]]


def test_a_start_and_one_after_the_end(slurm: Path) -> None:
    folder = launched("trainer::max_epochs=1")
    assert "val/loss/epoch" in start(folder).stdout
    run = read_run(folder)
    assert history(run) == ["finished"]
    assert run.facts["overrides"] == ["trainer::max_epochs=1"]
    before = (folder / "run.json").read_text()
    assert start(folder).stdout.endswith("is finished.\n")
    assert (folder / "run.json").read_text() == before


@pytest.mark.parametrize(
    ("requeue", "signum", "said"),
    [
        ("--requeue", signal.SIGUSR1, "its job is requeued and continues it; if that fails: lighter resume "),
        ("--no_requeue", signal.SIGUSR1, "to go on: lighter resume "),
        ("--requeue", signal.SIGTERM, "to go on: lighter resume "),
    ],
)
def test_only_where_the_job_is_not_requeued_the_user_is_to_go_on(
    requeue: str, signum: int, said: str, slurm: Path
) -> None:
    folder = launched(requeue, "trainer::callbacks=[{_target_: tests.experiments.fits.WaitsForSignal, step: 3}]")
    process = Process("-m", "lighter.cli.launched", environment=environment(folder))
    process.wait_until(lambda: waits(folder))
    process.send_signal(signum)
    process.wait(120)
    assert history(read_run(folder)) == ["interrupted"]
    assert (folder / "run.log").read_text().splitlines()[-1].endswith(f"{said}{folder.absolute()}")


def test_nothing_of_the_users_in_the_folder_is_removed(slurm: Path) -> None:
    folder = launched("trainer::callbacks=[{_target_: tests.experiments.fits.Slow, seconds: 0.1}]")
    ours = [folder / "notes.md", folder / "config.mine.yaml", folder / "plots/a.txt", folder / "checkpoints/notes.md"]
    for path in ours:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    process = Process("-m", "lighter.cli.launched", environment=environment(folder))
    process.wait_until((folder / "losses.csv").exists)
    process.kill_group()
    process.wait()
    (folder / "arrays").mkdir()
    start(folder)
    assert history(read_run(folder)) == ["lost", "finished"]
    assert all(path.read_text() == "mine" for path in ours)
    assert not (folder / "arrays").exists(), "of the start that was killed"


def test_a_start_that_was_killed_before_it_saved_begins_again_and_one_after_it_resumes(slurm: Path) -> None:
    folder = launched("trainer::callbacks=[{_target_: tests.experiments.fits.Slow, seconds: 0.1}]")
    checkpoint = folder / "checkpoints/last.ckpt"
    for holds in (lambda: (folder / "losses.csv").exists(), checkpoint.exists):
        process = Process("-m", "lighter.cli.launched", environment=environment(folder))
        process.wait_until(holds)
        process.kill_group()
        process.wait()
    start(folder)
    run = read_run(folder)
    assert history(run) == ["lost", "lost", "finished"]
    assert run.facts["resumed"]["checkpoint"] == str(checkpoint.absolute())
    assert run_command("lighter", "fit", "job.yaml", "run::dir=alone", environment=TESTS).returncode == 0
    (alone,) = Path("alone").glob("*/*")
    for name in ("metrics.csv", "losses.csv"):
        assert (folder / name).read_text() == (alone / name).read_text()


def test_a_fit_that_fails_says_why(slurm: Path) -> None:
    folder = launched("trainer::callbacks=[{_target_: tests.launch.jobs.Fails}]")
    start(folder, code=1)
    run = read_run(folder)
    assert (history(run), run.facts["error"]["type"]) == (["failed"], "ZeroDivisionError")


def test_resumes_as_they_were_asked_for(slurm: Path) -> None:
    folder = launched("trainer::max_epochs=1")
    start(folder)
    result = lighter("resume", str(folder), "trainer::max_epochs=2", "--launch", "slurm")
    assert result.exit_code == 0, result.output
    assert read_run(folder).facts["launch"]["before"] == "finished"
    assert read_run(folder).status == "finished"  # the queue of the stand-ins is empty
    start(folder)
    assert history(read_run(folder)) == ["finished", "finished"]
    assert read_run(folder).facts["progress"]["epoch"] == 2
    assert "max_epochs: 2" in (folder / "config.yaml").read_text()


def test_a_resume_takes_what_it_was_asked_to_at_each_start_until_it_has_saved(slurm: Path) -> None:
    folder = launched("trainer::max_epochs=1")
    start(folder)
    slow = "trainer::callbacks=[{_target_: tests.experiments.fits.Slow, seconds: 0.1}]"
    words = [str(folder), "trainer::max_epochs=2", slow, "--take", "no-optimizer", "--launch", "slurm"]
    result = lighter("resume", *words)
    assert result.exit_code == 0, result.output
    saved = (folder / "checkpoints/last.ckpt").stat().st_mtime_ns
    process = Process("-m", "lighter.cli.launched", environment=environment(folder))
    process.wait_until(lambda: read_run(folder).facts["status"] == "running" and "resumed" in read_run(folder).facts)
    process.kill_group()
    process.wait()
    assert (folder / "checkpoints/last.ckpt").stat().st_mtime_ns == saved
    start(folder)
    run = read_run(folder)
    assert history(run) == ["finished", "lost", "finished"]
    assert run.facts["resumed"]["take"] == "no-optimizer"


def test_a_refused_resume_leaves_the_record_as_it_was(slurm: Path) -> None:
    folder = launched("trainer::max_epochs=1")
    start(folder)
    before = (folder / "run.json").read_text()
    files = set(folder.rglob("*"))
    (slurm / "refusal").write_text("sbatch: error: QOSMaxSubmitJobPerUserLimit\n")
    result = lighter("resume", str(folder), "trainer::max_epochs=2", "--launch", "slurm")
    assert result.exit_code == 2
    assert "QOSMaxSubmitJobPerUserLimit" in result.output
    assert set(folder.rglob("*")) == files
    assert (folder / "run.json").read_text() == before
    assert "max_epochs: 1" in (folder / "config.yaml").read_text()


def test_the_weights_alone_in_a_new_run(slurm: Path) -> None:
    first = launched("trainer::max_epochs=1")
    start(first)
    result = lighter("resume", str(first), "trainer::max_epochs=2", "--take", "weights", "--launch", "slurm")
    assert result.exit_code == 0, result.output
    assert newest() != first
    start(newest())
    facts = read_run(newest()).facts
    assert (facts["status"], facts["resumed"]["take"], facts["progress"]["epoch"]) == ("finished", "weights", 2)


def test_a_test_of_the_best_checkpoint_of_when_it_was_submitted(slurm: Path, config: dict[str, Any]) -> None:
    first = launched("trainer::max_epochs=1")
    start(first)
    result = lighter("test", "job.yaml", "--ckpt_path", "best", "--launch", "slurm")
    assert result.exit_code == 0, result.output
    start(newest())
    run = read_run(newest())
    assert run.facts["checkpoint"].endswith(f"{first.name}/checkpoints/best.ckpt")
    assert "test/metrics/accuracy/epoch" in run.metrics


def test_the_processes_of_other_devices_are_in_the_same_run(slurm: Path) -> None:
    folder = launched("trainer::max_epochs=1", "trainer::devices=2", "trainer::strategy=ddp")
    start(folder)
    run = read_run(folder)
    assert (history(run), run.facts["trainer"]["devices"]) == (["finished"], 2)
    assert [path.name for path in Path("outputs").glob("*/*")] == [folder.name]
