"""A fit that another process has, had or may have does not go on twice."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from lighter import Runner
from lighter.errors import RunError
from lighter.files import lock
from lighter.files.lock import owned
from tests.runs.resume.jobs import fit_until, newest, record
from tests.slow import mostly_slow, one_in

JOB = {"job": "cluster/17", "restarts": "0"}


MOUNTS: list[tuple[str, Any, bool]] = [  # the file system, where the fit ran, and whether it goes on
    ("ext4 /dev/sda rw", None, True),  # of a container that is gone
    ("nfs4 disk:/ rw,vers=4.2,local_lock=none", None, True),
    ("nfs disk:/ rw,vers=3,nolock,local_lock=all", None, False),
    ("lustre disk:/ rw,flock,lazystatfs", None, True),
    ("lustre disk:/ rw,localflock", None, False),
    ("fuse.sshfs disk:/ rw", None, False),
    ("fuse.sshfs disk:/ rw", JOB, True),  # this job, before SLURM requeued it
    ("fuse.sshfs disk:/ rw", {**JOB, "restarts": "1"}, False),  # another step of this job
    ("fuse.sshfs disk:/ rw", {**JOB, "job": "cluster/18"}, False),
]


@pytest.mark.parametrize("case", one_in(2, MOUNTS), ids=lambda case: f"{case[0]}, {case[1]}")
@pytest.mark.parametrize("auto_resume", mostly_slow([True, False]))
@pytest.mark.filterwarnings("ignore:The `srun` command")
def test_a_fit_that_ran_on_another_host_goes_on_if_it_is_known_to_be_over(
    case: tuple[str, Any, bool], auto_resume: bool, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    mount, started_in, goes_on = case
    folder = fit_until(17, [job])
    there = {"status": "running", "host": "another", "slurm": started_in}
    (folder / "run.json").write_text(json.dumps({**record(folder), **there}))
    mounts = f"21 1 0:20 / / rw,relatime - fuse.other x rw\n22 21 0:21 / {Path.cwd()} rw shared:1 - {mount}\n"
    Path("mounts").write_text(mounts.replace(" /tmp", " /t\\155p"))  # as a space is written there
    monkeypatch.setattr(lock, "_MOUNTS", Path("mounts"))
    for name, value in (("JOB_ID", "17"), ("CLUSTER_NAME", "cluster"), ("RESTART_COUNT", "1")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    stop = pytest.raises(RunError, match=r"is running \(process \d+ on another\).* write \"lost\" for \"running\"")
    with nullcontext() if goes_on else stop:
        if auto_resume:
            job["trainer"]["callbacks"] = [{"_target_": "tests.runs.resume.jobs.StopAt", "step": 17}]
            Runner().run("fit", [job], auto_resume=True)
        else:
            Runner().resume("last")
    assert record(folder)["status"] == ("finished" if goes_on else "running")
    assert len(list(Path("outputs").glob("*/*"))) == 1


def test_weights_may_be_taken_of_a_fit_of_which_nobody_knows_whether_it_runs(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fit_until(17, [job])
    (folder / "run.json").write_text(json.dumps({**record(folder), "status": "running", "host": "another"}))
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != folder)
    Runner().resume("last", take="weights")
    assert record(newest())["status"] == "finished"
    assert record(folder)["status"] == "running"


def test_a_run_that_another_process_has_is_left_alone(job: dict[str, Any]) -> None:
    folder = fit_until(15, [job], auto_resume=True)
    same = [job, {"trainer": {"callbacks": [{"_target_": "tests.runs.resume.jobs.StopAt", "step": 15}]}}]

    def files() -> dict[str, tuple[int, bytes]]:
        found = [path for path in Path("outputs").rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}

    with owned(folder, "it"):
        before = files()
        for again in (
            lambda: Runner().resume("last"),
            lambda: Runner().resume(folder, ["trainer::max_epochs=9"]),
            lambda: Runner().run("fit", same, auto_resume=True),
            lambda: Runner().run("predict", resume=folder),
        ):
            with pytest.raises(RunError, match=r"is running \(process \d+ on .*, since .*\)"):
                again()
            assert files() == before
    assert not list(folder.glob(".*"))


def test_a_command_that_goes_on_or_starts_is_one_at_a_time(job: dict[str, Any]) -> None:
    """A second one comes before the first has its config in its folder, in which it could be found."""

    class Second(pl.Callback):
        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            with pytest.raises(RunError, match=r"`run`, the same command, is running .*; it is not started twice"):
                Runner().run("fit", [job], auto_resume=True)

    Runner().run("fit", [job, "trainer::max_epochs=1"])
    job["trainer"]["max_epochs"] = 1
    job["trainer"]["callbacks"] = [{"_target_": f"{__name__}.SECOND"}]
    globals()["SECOND"] = Second
    Runner().run("fit", [job], auto_resume=True)
    assert len(list(Path("outputs").glob("*/*"))) == 2
    assert not list(Path("outputs").glob(".auto*"))
