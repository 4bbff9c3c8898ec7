"""`--launch slurm` as a user types it, against stand-ins of SLURM's commands; against a real one: `test_slurm.py`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from lighter.cli import cli
from lighter.cli.json_schemas import schema_of
from lighter.config.yaml import dump
from lighter.processes import slurm_queue
from lighter.processes.slurm import JOB
from lighter.runs.read import read_run

pytest.importorskip("submitit")
SBATCH = """#!/bin/sh
cat "$1" > "{folder}/submitted.sh"
if [ -f "{folder}/refusal" ]; then cat "{folder}/refusal" >&2; exit 1; fi
echo "Submitted batch job 17"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], own_place: Path) -> Path:
    """Stand-ins on the PATH; `queue` is what squeue prints, `refusal` what sbatch does. A config: job.yaml."""
    folder = tmp_path / "slurm-commands"
    folder.mkdir()
    commands = {"sbatch": SBATCH, "srun": "#!/bin/sh\n", "squeue": '#!/bin/sh\ncat "{folder}/queue"\n'}
    for name, text in commands.items():
        (folder / name).write_text(text.format(folder=folder))
        (folder / name).chmod(0o755)
    (folder / "queue").write_text("")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(slurm_queue, "_FRESH", -1.0)
    (own_place / "job.yaml").write_text(dump(config))
    return folder


def lighter(*words: str) -> Result:
    return CliRunner().invoke(cli, [*words], env={"COLUMNS": "140"})


def launched(*words: str) -> Path:
    """Launch a fit; return its folder."""
    result = lighter("fit", "job.yaml", "--launch", "slurm", *words)
    assert result.exit_code == 0, result.output
    (folder,) = Path("outputs").glob("*/*")
    return folder


def queue(slurm: Path, folder: Path, state: str, reason: str = "None", status: int = 0) -> None:
    name = read_run(folder).facts["launch"]["name"]
    (slurm / "queue").write_text(f"17|{state}|{status}|{reason}|{name}|\n")


def status(folder: Path) -> str:
    row = json.loads(lighter("runs", "list", "--json").stdout)[0]
    Draft202012Validator(schema_of("runs.list")).validate([row])
    Draft202012Validator(schema_of("runs.show")).validate(json.loads(lighter("runs", "show", "last", "--json").stdout))
    shown = f"{row['status']} ({row['reason']})" if row["reason"] else row["status"]
    assert f"  {shown}  " in f"{lighter('runs', 'list').output.splitlines()[1]}  "
    return shown


def test_a_submission_makes_the_folder_and_says_how_to_follow(slurm: Path) -> None:
    result = lighter("fit", "job.yaml", "trainer::max_epochs=3", "--launch", "slurm", "--requeue", "launch::time=30")
    (folder,) = Path("outputs").glob("*/*")
    assert result.output.splitlines()[-4:] == [
        f"fit is job 17 of SLURM, in {folder}",
        f"to follow: lighter runs show {folder}",
        f"           tail -F {folder}/slurm/17_0_log.out",
        "to cancel: scancel 17",
    ]
    facts = read_run(folder).facts
    assert (facts["stage"], facts["status"], facts["launch"]["requeue"]) == ("fit", "pending", 100)
    assert facts["overrides"] == ["trainer::max_epochs=3", "launch::time=30"]
    assert "code" in facts
    script = (folder / "slurm/17_submission.sh").read_text()
    assert script == (slurm / "submitted.sh").read_text()
    for option in ("--time=30", "--requeue", "--signal=USR1@120", f"--job-name={facts['launch']['name']}"):
        assert f"#SBATCH {option}\n" in script
    saved = (folder / "slurm" / f"{facts['launch']['name']}.yaml").read_text()
    assert "max_epochs: 3" in saved


def test_a_dry_run_shows_the_script_and_leaves_nothing(slurm: Path) -> None:
    result = lighter("fit", "job.yaml", "--launch", "slurm", "--dry_run", "launch::partition=gpu", "launch::nodes=1")
    assert result.exit_code == 0
    assert result.stdout.startswith("#!/bin/bash\n")
    assert "#SBATCH --partition=gpu\n" in result.stdout
    assert "#SBATCH --no-requeue\n" in result.stdout
    assert not (slurm / "submitted.sh").exists()
    assert not list(Path("outputs").glob("*"))


def test_what_sbatch_refuses_leaves_nothing(slurm: Path) -> None:
    (slurm / "refusal").write_text("sbatch: error: invalid partition specified: nowhere\n")
    result = lighter("fit", "job.yaml", "--launch", "slurm", "launch::partition=nowhere")
    assert result.exit_code == 2
    assert "The job cannot be submitted." in result.output
    assert "invalid partition specified: nowhere" in result.output
    assert "Traceback" not in result.output
    assert not list(Path("outputs").glob("*"))


def test_mistakes_of_the_config_are_found_before_the_queue(slurm: Path) -> None:
    result = lighter("fit", "job.yaml", "--launch", "slurm", "model::optimizer::lrr=1", "launch::partion=gpu")
    assert result.exit_code == 2
    assert "lrr" in result.output
    assert "launch::partion" in result.output
    assert not (slurm / "submitted.sh").exists()


def test_a_checkpoint_that_is_not_there_is_found_before_the_queue(slurm: Path) -> None:
    result = lighter("test", "job.yaml", "--launch", "slurm", "--ckpt_path", "best")
    assert result.exit_code == 3
    assert not (slurm / "submitted.sh").exists()
    assert not list(Path("outputs").glob("*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dry_run"], "--launch slurm --dry_run"),
        (["--requeue"], "--launch slurm --requeue"),
        (["--launch", "slurm", "--safe"], "an untrusted config is not launched"),
        (["--launch", "pbs"], "'pbs' is not 'slurm'"),
    ],
)
def test_words_that_do_not_go_together(words: list[str], said: str, slurm: Path) -> None:
    result = lighter("fit", "job.yaml", *words)
    assert result.exit_code == 2
    assert said in result.output


def test_without_slurm(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (slurm / "sbatch").unlink()
    monkeypatch.setenv("PATH", str(slurm))
    result = lighter("fit", "job.yaml", "--launch", "slurm")
    assert result.exit_code == 2
    assert "this machine has no SLURM: `sbatch` is not on the PATH" in result.output
    assert "Leave out --launch to run it here" in result.output


def test_a_secret_is_not_written_for_the_job(slurm: Path) -> None:
    Path("secret.yaml").write_text("vars: {api_key: sk-0123456789abcdef0123456789abcdef}")
    result = lighter("fit", "job.yaml", "secret.yaml", "--launch", "slurm")
    assert result.exit_code == 2
    assert "vars::api_key: this is a secret, and its job read" in result.output


def test_statuses_are_those_of_the_queue(slurm: Path) -> None:
    folder = launched("--requeue")
    queue(slurm, folder, "PENDING", "Priority")
    assert status(folder) == "pending (Priority)"
    queue(slurm, folder, "RUNNING")
    assert status(folder) == "running (starting)"
    record(folder, status="running", host="elsewhere")
    assert status(folder) == "running"
    queue(slurm, folder, "PENDING", "BeginTime")  # its node failed
    assert status(folder) == "requeued (BeginTime)"
    record(folder, status="interrupted")
    assert status(folder) == "requeued (BeginTime)"
    queue(slurm, folder, "RUNNING")  # it imports
    assert status(folder) == "running"
    queue(slurm, folder, "CANCELLED")
    assert status(folder) == "interrupted"
    record(folder, status="running")
    assert status(folder) == "lost (SLURM: CANCELLED)"
    (slurm / "queue").write_text("")
    assert status(folder) == "lost (SLURM does not know its job any more)"
    record(folder, status="finished")
    assert status(folder) == "finished"
    row = json.loads(lighter("runs", "list", "--json").stdout)[0]
    assert (row["status"], row["reason"]) == ("finished", "")


def record(folder: Path, **facts: Any) -> None:
    path = folder / "run.json"
    # another name and a rename, as the journal does: the index looks at the folder's time
    aside = folder / "aside"
    aside.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
    aside.rename(path)


@pytest.mark.parametrize(
    ("state", "recorded"), [("PENDING", "pending"), ("PENDING", "interrupted"), ("RUNNING", "interrupted")]
)
def test_a_run_with_a_live_job_is_neither_removed_nor_resumed(state: str, recorded: str, slurm: Path) -> None:
    folder = launched("--requeue")
    queue(slurm, folder, state)
    record(folder, status=recorded, host="elsewhere")  # whose lock is free meanwhile
    name = read_run(folder).facts["launch"]["name"]
    for words in (["runs", "rm", "--yes", str(folder)], ["resume", str(folder)]):
        result = lighter(*words)
        assert result.exit_code == 2
        assert f"scancel --name={name}" in result.output
    assert folder.is_dir()


def test_a_queue_that_does_not_answer_changes_no_status(slurm: Path) -> None:
    folder = launched()
    (slurm / "queue").unlink()
    assert status(folder) == "pending"


def test_in_its_own_job_a_run_is_as_its_record_says(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = launched()
    queue(slurm, folder, "RUNNING")
    record(folder, status="interrupted")
    monkeypatch.setenv(JOB, read_run(folder).facts["launch"]["name"])
    assert read_run(folder).status == "interrupted"


def test_what_the_job_printed_says_that_memory_ran_out(slurm: Path) -> None:
    folder = launched()
    queue(slurm, folder, "FAILED", "NonZeroExitCode", 137 << 8)
    record(folder, status="running", host="elsewhere")
    assert status(folder) == "lost (ended by SIGKILL)"
    earlier, log = folder / "slurm/9_0_log.out", folder / "slurm/17_0_log.out"
    earlier.write_text("slurmstepd: error: Detected 1 oom_kill event in StepId=9.0.\n")
    os.utime(earlier, (0, 0))  # of an earlier job
    assert status(folder) == "lost (ended by SIGKILL)"
    log.write_text("slurmstepd: error: Detected 1 oom_kill event in StepId=17.0.\n")
    assert status(folder) == "lost (SLURM: OUT_OF_MEMORY)"
    (shown,) = (line for line in lighter("runs", "show", "last").output.splitlines() if line.startswith("output "))
    assert shown.split() == ["output", str(log)]
    (slurm / "queue").write_text("")
    assert status(folder) == "lost (SLURM: OUT_OF_MEMORY)"
    launch = read_run(folder).facts["launch"]
    for damaged in ({**launch, "submitted": "yesterday"}, {key: launch[key] for key in ("kind", "name", "user")}):
        record(folder, launch=damaged)
        assert status(folder) == "lost (SLURM does not know its job any more)"


def test_a_run_shows_its_job(slurm: Path) -> None:
    folder = launched("--requeue")
    name = read_run(folder).facts["launch"]["name"]
    shown = lighter("runs", "show", str(folder)).output
    assert f"job        of SLURM, {name}\n" in shown
    assert "submitted  " in shown
    queue(slurm, folder, "PENDING", "Priority")
    assert f"job        17 of SLURM, {name}\n" in lighter("runs", "show", str(folder)).output
    (slurm / "queue").write_text("")
    (folder / "slurm/17_0_log.out").touch()
    record(folder, status="interrupted", slurm={"job": "one/17", "restarts": "2"})
    assert f"17 of SLURM, requeued 2 times, {name}\n" in lighter("runs", "show", str(folder)).output
