"""`lighter sweep --launch slurm` as a user types it, against stand-ins of SLURM's commands."""

from __future__ import annotations

import json
from pathlib import Path

from lighter.experiments.coordinator_job import LAUNCH
from tests.launch.test_launch import lighter
from tests.launch.test_launch import slurm as slurm  # a fixture

SWEEP = ("sweep", "job.yaml", "--seeds", "2", "--launch", "slurm")


def launched(*words: str) -> Path:
    """Launch a sweep; return its folder."""
    result = lighter(*SWEEP, *words)
    assert result.exit_code == 0, result.output
    (folder,) = Path("outputs/experiments").glob("*/*")
    assert result.output.splitlines()[-4:] == [
        f"sweep is job 17 of SLURM, in {folder}",
        f"to follow: lighter experiment status {folder}",
        f"           tail -F {folder}/slurm/17_0_log.out",
        "to cancel: scancel 17",
    ]
    return folder


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def queue(slurm: Path, folder: Path, state: str, reason: str = "None") -> None:
    name = json.loads((folder / LAUNCH).read_text())["name"]
    (slurm / "queue").write_text(f"17|{state}|0|{reason}|{name}|\n")


def test_the_status_has_the_job(slurm: Path) -> None:
    folder = launched("--requeue")
    queue(slurm, folder, "PENDING", "Resources")
    status = json.loads(lighter("experiment", "status", str(folder), "--json").stdout)
    assert (status["state"], status["reason"], status["job"]["job"]) == ("pending", "Resources", "17")
    facts = json.loads((folder / LAUNCH).read_text())
    assert f"#SBATCH --job-name={facts['name']}\n" in (slurm / "submitted.sh").read_text()
    assert facts["requeue"] == 100


def test_a_dry_run_leaves_nothing(slurm: Path) -> None:
    result = lighter(*SWEEP, "--dry_run")
    assert result.stdout.startswith("#!/bin/bash\n")
    assert not list(Path("outputs").glob("*/*/*"))


def test_what_sbatch_refuses_leaves_nothing(slurm: Path) -> None:
    (slurm / "refusal").write_text("sbatch: error: invalid partition specified: nowhere\n")
    result = lighter(*SWEEP, "launch::partition=nowhere")
    assert result.exit_code == 2
    assert "invalid partition specified: nowhere" in result.output
    assert not list(Path("outputs").glob("*/*/*"))


def test_a_dry_run_of_a_resume_changes_nothing(slurm: Path) -> None:
    folder = launched()
    (slurm / "queue").write_text("")
    (folder / "stop").touch()
    before = files(folder)
    words = ["experiment", "resume", str(folder), "experiment::seeds=3", "--launch", "slurm"]
    result = lighter(*words, "--dry_run")
    assert result.stdout.startswith("#!/bin/bash\n"), result.output
    assert files(folder) == before
    (slurm / "submitted.sh").unlink()
    assert lighter(*words).exit_code == 0
    assert (slurm / "submitted.sh").exists()
    assert not (folder / "stop").exists()
    assert "seeds: 3" in (folder / "config.yaml").read_text()


def test_a_second_job_is_not_submitted_while_the_first_waits(slurm: Path) -> None:
    folder = launched()
    queue(slurm, folder, "PENDING", "Priority")
    (slurm / "submitted.sh").unlink()
    for where in ([], ["--launch", "slurm"]):
        result = lighter("experiment", "resume", str(folder), *where)
        assert result.exit_code == 2
        assert "waits in SLURM (Priority). First: scancel 17" in " ".join(result.output.split())
    assert not (slurm / "submitted.sh").exists()


def test_members_that_sbatch_refuses_do_not_seem_to_run(slurm: Path) -> None:
    (slurm / "refusal").write_text("sbatch: error: invalid partition specified: nowhere\n")
    result = lighter("sweep", "job.yaml", "--seeds", "2", "experiment::executor={kind: slurm, partition: nowhere}")
    (folder,) = Path("outputs/experiments").glob("*/*")
    assert result.exit_code == 2
    assert "The job cannot be submitted." in result.output
    assert "invalid partition specified: nowhere" in result.output
    assert f"lighter experiment resume {folder.absolute()} experiment::executor::partition=" in result.output
    assert "running" not in result.output
    assert lighter("experiment", "list", "--json").stdout.count('"stopped"') == 1
