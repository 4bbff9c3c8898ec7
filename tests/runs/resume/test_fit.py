"""A fit that goes on: one folder, one curve, and nothing that means something else."""

from __future__ import annotations

import json
import logging
import shutil
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml

from lighter import Runner
from lighter.engine import project
from lighter.errors import CheckpointError, ConfigError, RunError
from lighter.files import lock
from lighter.files.lock import owned
from lighter.processes.identity import this_process
from lighter.runs.read import read_run
from tests.runs.resume.jobs import StopAt, StopError, fit_until, logged, newest, tensors
from tests.slow import mostly_slow

LOGGERS = {
    "default": None,
    "csv": {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": "csv"},
    "tensorboard": {"_target_": "pytorch_lightning.loggers.TensorBoardLogger", "save_dir": "tb"},
}
EVERY_4 = {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "every_n_train_steps": 4, "save_top_k": -1}


@pytest.fixture
def job(config: dict[str, Any]) -> dict[str, Any]:
    """Three epochs of ten steps; step values at every third."""
    config["trainer"] |= {"max_epochs": 3, "log_every_n_steps": 3}
    return config


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize("cut", mostly_slow([10, 17, 29]))
def test_one_continuous_curve_in_the_same_folder(job: dict[str, Any], cut: int) -> None:
    Runner().run("fit", [job, "run::name=whole"])
    whole = newest()
    expected = logged(whole / "metrics.csv")
    folder = fit_until(cut, [job, "run::name=cut"])
    Runner().resume("last")
    assert {path.name[9:] for path in Path("outputs").glob("*/*")} == {"whole", "cut"}
    assert logged(folder / "metrics.csv") == expected
    assert len(set(expected)) == len(expected)
    facts = record(folder)
    assert facts["status"] == "finished"
    assert facts["progress"] == {"epoch": 3, "step": 30}
    assert [start["status"] for start in facts["starts"]] == ["failed"]
    assert facts["resumed"]["take"] == "all"
    assert facts["resumed"]["step"] == cut // 10 * 10
    assert (folder / "losses.csv").read_text() == (whole / "losses.csv").read_text()


@pytest.mark.slow
def test_csv_loggers_of_the_config_and_tensorboard_go_on(job: dict[str, Any]) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    job["trainer"]["logger"] = [LOGGERS["csv"], LOGGERS["tensorboard"]]
    Runner().run("fit", [job, "run::name=whole"])
    fit_until(17, [job, "run::name=cut"])
    Runner().resume("last")

    def scalars(version: int) -> list[tuple[int, str]]:
        """Each once: a row that is logged at the end of an epoch, after the checkpoint, is logged again."""
        found = event_accumulator.EventAccumulator(f"tb/lightning_logs/version_{version}")
        found.Reload()
        return sorted({(event.step, tag) for tag in found.Tags()["scalars"] for event in found.Scalars(tag)})

    assert scalars(1) == scalars(0)
    files = sorted(Path("csv").glob("lightning_logs/*/metrics.csv"))
    assert [file.parent.name for file in files] == ["version_0", "version_1"]
    assert logged(files[1]) == logged(files[0])


@pytest.mark.parametrize("accumulate", [1, 2])
def test_from_a_checkpoint_in_the_middle_of_an_epoch(job: dict[str, Any], accumulate: int) -> None:
    job["trainer"] |= {"callbacks": [EVERY_4], "accumulate_grad_batches": accumulate}
    Runner().run("fit", [job, "run::name=whole"])
    expected = logged(newest() / "metrics.csv")
    folder = fit_until(7, [job, "run::name=cut"])
    Runner().resume("last")
    assert logged(folder / "metrics.csv") == expected
    assert record(folder)["resumed"]["step"] == 4


def test_from_the_best_checkpoint_where_there_is_no_other(job: dict[str, Any]) -> None:
    Runner().run("fit", [job, "run::name=whole"])
    expected = logged(newest() / "metrics.csv")
    folder = fit_until(25, [job, "run::name=cut"])
    (folder / "checkpoints" / "last.ckpt").unlink()
    Runner().resume("last")
    assert logged(folder / "metrics.csv") == expected


def test_a_torn_checkpoint_is_skipped(job: dict[str, Any], caplog: Any) -> None:
    job["trainer"]["callbacks"] = [
        {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "save_top_k": -1, "filename": "{epoch}"}
    ]
    folder = fit_until(25, [job])
    torn = folder / "checkpoints" / "epoch=1.ckpt"
    torn.write_bytes(torn.read_bytes()[:1000])
    Runner().resume("last")
    assert "epoch=1.ckpt is damaged: it ends at byte 1,000, too early" in caplog.text
    assert record(folder)["resumed"]["step"] == 10
    assert record(folder)["progress"]["step"] == 30


def test_without_a_checkpoint_there_is_nothing_to_go_on_from(job: dict[str, Any]) -> None:
    folder = fit_until(5, [job])
    before = (folder / "run.json").read_bytes(), (folder / "metrics.csv").read_bytes()
    with pytest.raises(CheckpointError, match=r"-run has no checkpoint, so there is nothing to resume from"):
        Runner().resume("last")
    assert before == ((folder / "run.json").read_bytes(), (folder / "metrics.csv").read_bytes())


def test_overrides_are_recorded_and_the_config_before_is_kept(job: dict[str, Any]) -> None:
    Runner().run("fit", [job, "trainer::max_epochs=1"])
    folder = newest()
    with pytest.raises(RunError, match=r"is finished. To train for longer: .*max_epochs=NUMBER"):
        Runner().resume("last")
    Runner().resume(folder, ["trainer::max_epochs=2"])
    facts = record(folder)
    assert facts["overrides"] == ["trainer::max_epochs=2"]
    assert facts["progress"]["step"] == 20
    configs = [yaml.safe_load((folder / name).read_text()) for name in ("config.1.yaml", "config.yaml")]
    assert [config["trainer"]["max_epochs"] for config in configs] == [1, 2]


class Rates(pl.Callback):
    seen: list[tuple[float, float]] = []

    def on_train_batch_start(self, trainer, *_):
        group = trainer.optimizers[0].param_groups[0]
        Rates.seen.append((round(group["lr"], 6), group["betas"][0], len(trainer.optimizers[0].state)))


@pytest.mark.parametrize(
    ("take", "overrides", "expected"),
    [
        ("all", [], (0.01, 0.9, 4)),
        ("all", ["model::optimizer::lr=0.001"], (0.001, 0.9, 4)),
        ("all", ["vars::rate=0.002"], (0.002, 0.9, 4)),
        ("all", ["model::optimizer::betas=[0.8, 0.99]"], (0.01, 0.8, 4)),
        ("no-optimizer", ["model::optimizer::lr=0.001"], (0.001, 0.9, 0)),
    ],
)
@pytest.mark.slow
def test_new_settings_of_the_optimizer_have_effect(
    job: dict[str, Any], take: str, overrides: list[str], expected: tuple[float, ...]
) -> None:
    job["vars"]["rate"] = 0.01
    job["model"]["optimizer"] = {"_target_": "torch.optim.Adam", "lr": "@vars::rate", "betas": [0.9, 0.999]}
    if overrides and "betas" in overrides[0]:
        overrides = ["=" + overrides[0]]
    job["trainer"]["callbacks"] = [{"_target_": "tests.runs.resume.test_fit.Rates"}]
    folder = fit_until(15, [job])
    Rates.seen = []
    Runner().resume("last", overrides, take)
    assert Rates.seen[0] == expected
    assert len(Rates.seen) == 20
    assert record(folder)["progress"] == {"epoch": 3, "step": 30}


def test_a_schedule_goes_on_scaled(job: dict[str, Any]) -> None:
    job["model"]["scheduler"] = {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 0.5}
    job["trainer"]["callbacks"] = [{"_target_": "tests.runs.resume.test_fit.Rates"}]
    fit_until(15, [job])
    Rates.seen = []
    Runner().resume("last", ["model::optimizer::lr=0.1"])
    assert [lr for lr, _, _ in Rates.seen[::10]] == [0.05, 0.025]


def test_the_weights_alone_begin_a_new_run(job: dict[str, Any]) -> None:
    folder = fit_until(15, [job])
    weights = tensors(folder / "checkpoints" / "last.ckpt")
    Runner().resume("last", ["trainer::max_epochs=1", "model::optimizer::lr=0.0"], "weights")
    new = newest()
    assert new != folder
    assert record(new)["progress"] == {"epoch": 1, "step": 10}
    assert record(new)["resumed"]["run"].endswith(folder.name)
    assert all(torch.equal(value, weights[name]) for name, value in tensors(new / "checkpoints" / "last.ckpt").items())


REFUSED = {
    "network": ("model::network::_target_=tests.runs.resume.jobs.wide_mlp", "all", "this was 'tests.jobs.mlp'"),
    "module": ("model::_target_=tests.runs.resume.jobs.Wider", "no-optimizer", "those of another network"),
    "optimizer": ("=model::optimizer={_target_: torch.optim.SGD, lr: 1}", "all", r"as it was\n.*\n.*\n.*no-optimizer"),
    "scheduler": (
        "model::scheduler={_target_: torch.optim.lr_scheduler.StepLR, step_size: 1}",
        "all",
        "scheduler::_target_: this was not there",
    ),
    "batch size": ("data::train_dataloader::batch_size=16", "all", "this was 32, and is 16; the epoch and the step"),
    "data": ("data::train_dataloader::dataset::end=9", "no-optimizer", "dataset::end: this was 320, and is 9"),
    "a file": ("config.yaml", "all", "only overrides are given here"),
    "misspelt": ("=model::optimizer::rl=1", "all", "rl"),
}


@pytest.mark.parametrize("case", mostly_slow(REFUSED, 3))
def test_changes_that_make_the_state_meaningless_are_refused(job: dict[str, Any], case: str) -> None:
    override, take, message = REFUSED[case]
    folder = fit_until(15, [job])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=message):
        Runner().resume("last", [override], take)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


STEPS = {"_target_": "torch.optim.lr_scheduler.LinearLR", "total_iters": "$@trainer.estimated_stepping_batches"}
USED = "trainer::max_epochs: this was 3, and is 4, and `model::scheduler::total_iters` refers to it"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer::enable_progress_bar=false"], ""),
        (["trainer::max_epochs=4"], USED),
        (["trainer::max_epochs=4", "model::scheduler::total_iters=9"], r"and is 9;[^;]*total_iters=\$@trainer\.\w+$"),
    ],
)
@pytest.mark.slow
def test_a_schedule_refers_to_the_number_of_steps(job: dict[str, Any], overrides: list[str], message: str) -> None:
    job["model"]["scheduler"] = STEPS
    folder = fit_until(15, [job])
    with pytest.raises(ConfigError, match=message) if message else nullcontext():
        Runner().resume("last", overrides)
    assert message or record(folder)["status"] == "finished"


def test_names_of_the_project_are_imported_when_it_is_importable(job: dict[str, Any], own_place: Path) -> None:
    """A resume compares the configs before it is."""
    (own_place / "numbers_of_mine.py").write_text("RATE = 0.02\n")
    job |= {"project": str(own_place), "_imports_": {"RATE": "project.numbers_of_mine.RATE"}}
    job["model"]["optimizer"]["lr"] = "$RATE"
    folder = fit_until(15, [job])
    project._forget()
    Runner().resume("last")
    assert record(folder)["status"] == "finished"


def test_weights_of_another_shape_are_refused_by_name(job: dict[str, Any]) -> None:
    fit_until(15, [job])
    with pytest.raises(
        CheckpointError, match=r"another network:\n  network.0.weight: \(32, 64\) there, \(48, 64\) here"
    ):
        Runner().resume("last", ["model::network::_target_=tests.runs.resume.jobs.wide_mlp"], "weights")


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature", "ignore:.*uninitialized parameters")
@pytest.mark.filterwarnings("ignore:A layer with UninitializedParameter", "ignore:The total number of parameters")
@pytest.mark.parametrize("network", mostly_slow(["lazy_mlp", "meta_mlp"]))
def test_layers_without_shapes_and_extra_state_go_on(job: dict[str, Any], network: str) -> None:
    job["model"]["network"] = {"_target_": f"tests.runs.resume.jobs.{network}"}
    folder = fit_until(17, [job])
    Runner().resume("last")
    assert record(folder)["status"] == "finished"


@pytest.mark.parametrize("override", ["data::train_dataloader::num_workers=0", "data::val_dataloader::batch_size=16"])
@pytest.mark.slow
def test_changes_that_do_not_matter_are_allowed(job: dict[str, Any], override: str) -> None:
    folder = fit_until(15, [job])
    Runner().resume("last", [override])
    assert record(folder)["status"] == "finished"


def test_only_fits_that_do_not_run_go_on(job: dict[str, Any]) -> None:
    Runner().run("test", [job, "run::name=tested"], verbose=False)
    with pytest.raises(RunError, match="there is no fit among the 1 runs"):
        Runner().resume("last")
    with pytest.raises(RunError, match="was a test, and only a fit resumes"):
        Runner().resume(newest())
    folder = fit_until(15, [job])
    (folder / "run.json").write_text(json.dumps({**record(folder), **this_process(), "status": "running"}))
    with pytest.raises(RunError, match="-run is running"):
        Runner().resume(folder)


JOB = {"job": "cluster/17", "restarts": "0"}


@pytest.mark.parametrize(
    ("mount", "started_in", "goes_on"),
    [
        ("ext4 /dev/sda rw", None, True),  # of a container that is gone
        ("nfs4 disk:/ rw,vers=4.2,local_lock=none", None, True),
        ("nfs disk:/ rw,vers=3,nolock,local_lock=all", None, False),
        ("lustre disk:/ rw,flock,lazystatfs", None, True),
        ("lustre disk:/ rw,localflock", None, False),
        ("fuse.sshfs disk:/ rw", None, False),
        ("fuse.sshfs disk:/ rw", JOB, True),  # this job, before SLURM requeued it
        ("fuse.sshfs disk:/ rw", {**JOB, "restarts": "1"}, False),  # another step of this job
        ("fuse.sshfs disk:/ rw", {**JOB, "job": "cluster/18"}, False),
    ],
)
@pytest.mark.parametrize("auto_resume", mostly_slow([True, False]))
@pytest.mark.filterwarnings("ignore:The `srun` command")
def test_a_fit_that_ran_on_another_host_goes_on_if_it_is_known_to_be_over(
    mount: str, started_in: Any, goes_on: bool, auto_resume: bool, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_folder_that_cannot_be_written_to_is_refused(job: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fit_until(12, [job])
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != folder)
    with pytest.raises(RunError, match=rf"{folder} cannot be written to, and a fit resumes in its folder"):
        Runner().resume("last")


def test_objects_in_checkpoints_are_read_only_if_that_is_asked_for(job: dict[str, Any]) -> None:
    folder = fit_until(12, [job])
    for path in (folder / "checkpoints").glob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        torch.save({**content, "hyper_parameters": {**content["hyper_parameters"], "path": Path("x")}}, path)
    with pytest.raises(CheckpointError, match=r"can run code\. If you trust its origin, add --no-weights_only$"):
        Runner().resume("last")
    facts = record(folder)
    (folder / "run.json").write_text(json.dumps({**facts, "arguments": {"weights_only": False}}))
    with pytest.raises(CheckpointError, match=r"add --no-weights_only$"):
        Runner().resume("last")
    with pytest.warns(UserWarning, match="weights_only is off"):
        Runner().resume("last", weights_only=False)
    assert record(folder)["progress"] == {"epoch": 3, "step": 30}


def test_auto_resume_starts_or_goes_on(job: dict[str, Any]) -> None:
    folder = fit_until(15, [job], auto_resume=True)
    StopAt.armed = False
    same = [job, {"trainer": {"callbacks": [{"_target_": "tests.runs.resume.jobs.StopAt", "step": 15}]}}]
    Runner().run("fit", [*same, "model::optimizer::lr=0.5"], auto_resume=True)
    assert newest() != folder, "another config is another run"
    Runner().run("fit", same, auto_resume=True)
    assert record(folder)["progress"]["step"] == 30
    Runner().run("fit", same, auto_resume=True)
    assert len(list(Path("outputs").glob("*/*"))) == 3, "what is finished starts anew"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.write_bytes(file.read_bytes() + b"\xff\xfe\n"), "metrics.csv cannot be read.*utf-8"),
        (lambda file: file.write_text(file.read_text() + "1," * 99 + "\n"), r"row \d+ has more values than the header"),
    ],
)
def test_rows_that_cannot_be_read_are_refused_and_left_alone(job: dict[str, Any], damage: Any, message: str) -> None:
    folder = fit_until(17, [job])
    damage(folder / "metrics.csv")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "run.log"}
    with pytest.raises(RunError, match=message):
        Runner().resume("last")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer::max_epochs=0", "has trained 1 epochs by last.ckpt, and trainer::max_epochs is 0 epochs"),
        ("trainer::max_steps=9", "has trained 10 steps by last.ckpt, and trainer::max_steps is 9 steps"),
        ("trainer::max_time='00:00:00:01'", "has trained 7 seconds by last.ckpt, and trainer::max_time is 1 seconds"),
    ],
)
def test_a_limit_that_is_passed_is_refused(job: dict[str, Any], override: str, message: str) -> None:
    folder = fit_until(17, [job])
    file = folder / "checkpoints" / "last.ckpt"
    content = torch.load(file, weights_only=True)
    content["callbacks"]["Timer"] = {"time_elapsed": {"train": 7.0}}
    torch.save(content, file)
    with pytest.raises(RunError, match=message):
        Runner().resume("last", [override])


def test_a_limit_of_steps_that_the_last_batch_has_passed_is_the_end(job: dict[str, Any]) -> None:
    """With two optimizers, say, each of which counts."""
    folder = fit_until(17, [job, "trainer::max_steps=20"])
    file = folder / "checkpoints" / "last.ckpt"
    torch.save({**torch.load(file, weights_only=True), "global_step": 21}, file)
    runner = Runner()
    runner.resume("last")
    assert runner.outcome is not None
    assert runner.outcome.trainer.global_step == 20


def test_a_limit_that_is_passed_is_refused_where_a_checkpoint_is_given(job: dict[str, Any]) -> None:
    Runner().run("fit", [job])
    with pytest.raises(CheckpointError, match=r"is further than trainer::max_epochs.*current_epoch=2"):
        Runner().run("fit", [job, "trainer::max_epochs=1"], ckpt_path="last")


@pytest.mark.slow
def test_code_that_changed_is_named(job: dict[str, Any], own_place: Path, monkeypatch: Any, caplog: Any) -> None:
    monkeypatch.syspath_prepend(str(own_place))
    nets = own_place / "my_nets.py"
    nets.write_text("from tests.jobs import mlp\n")
    job["model"]["network"] = {"_target_": "my_nets.mlp"}
    folder = fit_until(17, [job])
    assert list(record(folder)["code"]) == ["my_nets"]
    nets.write_text("from tests.jobs import mlp  # another\n")
    facts = record(folder)
    facts["software"]["packages"]["torch"] = "1.0"
    (folder / "run.json").write_text(json.dumps(facts))
    Runner().resume("last")
    [line] = [one.getMessage() for one in caplog.records if "not as it was" in one.getMessage()]
    assert line.startswith("not as it was when this run began: my_nets (its file changed), torch (1.0, now ")
    caplog.clear()
    Runner().resume("last", ["trainer::max_epochs=4"])
    lines = [one.getMessage() for one in caplog.records if "not as it was" in one.getMessage()]
    assert lines == [line], "compared with the start of the run, whichever resume this is"


class Breaks(pl.Callback):
    def setup(self, *_: Any, **__: Any) -> None:
        raise StopError


def test_a_resume_that_fails_keeps_what_was_known(job: dict[str, Any]) -> None:
    Runner().run("fit", [job])
    folder = newest()
    before = record(folder)
    assert before["metrics"]
    broken = {"_target_": "tests.runs.resume.test_fit.Breaks"}
    with pytest.raises(StopError):
        Runner().resume("last", ["trainer::max_epochs=4", f"trainer::callbacks={json.dumps([broken])}"])
    after = record(folder)
    assert after["status"] == "failed"
    for name in ("metrics", "checkpoints", "progress", "data"):
        assert after[name] == before[name], name
    run = read_run(folder)
    assert run.metrics == before["metrics"]
    assert [start["status"] for start in after["starts"]] == ["finished"]
    assert run.seconds == pytest.approx(before["seconds"] + after["seconds"], abs=0.2)


def test_the_time_of_a_killed_start_is_known(job: dict[str, Any]) -> None:
    folder = fit_until(17, [job])
    facts = record(folder)
    started = datetime.now().astimezone() - timedelta(seconds=90)
    facts |= {"status": "running", "started": started.isoformat(), "process_started": "gone", "seconds": None}
    (folder / "run.json").write_text(json.dumps(facts))
    Runner().resume("last")
    [start] = record(folder)["starts"]
    assert start["status"] == "lost"
    assert start["seconds"] == pytest.approx(90, abs=5)
    assert (read_run(folder).seconds or 0) > 90


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


@pytest.mark.slow
def test_a_finished_run_hides_no_other(job: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Which run is the newest is what the records say, and `last` is one that did not finish."""
    caplog.set_level(logging.INFO, "lighter")
    folder = fit_until(15, [job])
    StopAt.armed = False
    same = [job, {"trainer": {"callbacks": [{"_target_": "tests.runs.resume.jobs.StopAt", "step": 15}]}}]
    Runner().run("fit", same)
    finished = newest()
    later = Path("outputs/2099-01-01/00-00-00-run")
    later.parent.mkdir()
    finished.rename(later)
    for number, go_on in enumerate(
        (lambda: Runner().run("fit", same, auto_resume=True), lambda: Runner().resume("last"))
    ):
        shutil.copytree(folder, f"kept-{number}")
        go_on()
        assert record(folder)["status"] == "finished"
        shutil.rmtree(folder)
        Path(f"kept-{number}").rename(folder)
    assert "2099-01-01/00-00-00-run is finished; the newest unfinished fit resumes: " in caplog.text
    Runner().resume("last", ["trainer::max_epochs=4"])
    assert record(later)["progress"]["step"] == 40, "with overrides, the one that was started last"
