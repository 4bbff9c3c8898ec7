"""A fit that goes on: one folder, one curve, and nothing that means something else."""

from __future__ import annotations

import json
import logging
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml

from lighter import Runner
from lighter.errors import CheckpointError, RunError
from lighter.processes.identity import this_process
from lighter.runs.read import read_run
from tests.runs.resume.jobs import StopAt, StopError, fit_until, logged, newest, record
from tests.slow import mostly_slow

LOGGERS = {
    "default": None,
    "csv": {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": "csv"},
    "tensorboard": {"_target_": "pytorch_lightning.loggers.TensorBoardLogger", "save_dir": "tb"},
}
EVERY_4 = {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "every_n_train_steps": 4, "save_top_k": -1}


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
    before = {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("run.log", "events.jsonl")
    }
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
