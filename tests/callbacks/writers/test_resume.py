"""A prediction that was stopped goes on after its last complete batch, and ends as if nothing had been."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from lighter import Runner, Trainer
from lighter.callbacks import BaseWriter, CsvWriter, FileWriter, ParquetWriter
from lighter.errors import ConfigError, PredictionError
from tests.callbacks.jobs import Predictor, Samples, StopAt, config, loader, stream
from tests.callbacks.test_kills import contents
from tests.forks import exit_code, fork
from tests.slow import mostly_slow, slow_but


@pytest.fixture(params=mostly_slow([Trainer, pl.Trainer]), ids=["lighter.Trainer", "Lightning's trainer"])
def trainer_class(request: pytest.FixtureRequest) -> type[pl.Trainer]:
    """Both loops: Lightning's, and the lean one."""
    return request.param


def three(name_key: str | None = "name") -> list[BaseWriter]:
    return [
        CsvWriter("rows.csv", ["name", "text", "pred", "vector"]),
        ParquetWriter("rows.parquet", ["name", "pred"]),
        FileWriter("files", "vector", "tensor", name_key),
    ]


def going_on(*writers: BaseWriter) -> list[BaseWriter]:
    for writer in writers:
        writer.resume = True
    return list(writers)


class Counts(Predictor):
    """Remembers the batches it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, int]] = []

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        self.asked.append((dataloader_idx, batch_idx))
        return super().predict_step(batch, batch_idx, dataloader_idx)


class Loads(Samples):
    """Remembers the samples that were loaded."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.loaded: list[int] = []

    def __getitem__(self, index):
        self.loaded.append(index)
        return super().__getitem__(index)


def stop(predict: Any, *writers: BaseWriter, at: tuple[int, int] = (0, 6), **kwargs: Any) -> None:
    with pytest.raises(RuntimeError, match="stopped by the test"):
        predict(*writers, StopAt(at[1], at[0]), **kwargs)


DATA = {
    "one": loader,
    "workers": lambda: loader(num_workers=2, persistent_workers=True),
    "stream": stream,
    "several": lambda: [loader(20), loader(64), stream(30)],
    "sampler": lambda: DataLoader(Samples(), batch_size=7, sampler=list(range(99, -1, -1))),
}


@pytest.mark.parametrize("kind", DATA)
def test_it_ends_as_if_nothing_had_been(predict: Any, own_place: Path, kind: str) -> None:
    place = (1, 4) if kind == "several" else (0, 6)
    name_key = None if kind == "several" else "name"
    whole, stopped = own_place / "whole", own_place / "stopped"
    whole.mkdir()
    stopped.mkdir()
    predict(*three(name_key), data=DATA[kind](), default_root_dir=whole)
    stop(predict, *three(name_key), data=DATA[kind](), default_root_dir=stopped, at=place)
    assert not (stopped / "rows.csv").exists()
    module = Counts()
    predict(*going_on(*three(name_key)), data=DATA[kind](), module=module, default_root_dir=stopped)
    assert module.asked[0] == place
    assert len(module.asked) == (10 - 4 + 5 if kind == "several" else 15 - 6)
    assert contents(stopped) == contents(whole)


def test_complete_batches_are_not_loaded(predict: Any) -> None:
    stop(predict, *three())
    data = Loads(100)
    predict(*going_on(*three()), data=DataLoader(data, batch_size=7))
    assert data.loaded == list(range(42, 100))


def test_writers_in_different_states(predict: Any, own_place: Path) -> None:
    predict(*three())
    whole = contents(own_place)
    for name in whole:
        (own_place / name).unlink()
    (own_place / "files").rmdir()
    stop(predict, CsvWriter("rows.csv", ["name", "text", "pred", "vector"]), at=(0, 3))
    stop(predict, FileWriter("files", "vector", "tensor", "name"), at=(0, 9))
    before = {path.name: path.stat().st_ino for path in (own_place / "files").glob("*.pt")}
    module = Counts()
    predict(*going_on(*three()), module=module)  # the Parquet file was not begun
    assert module.asked == [(0, batch) for batch in range(15)]
    assert contents(own_place) == whole
    assert len(before) == 63
    assert all((own_place / "files" / name).stat().st_ino == inode for name, inode in before.items())


def test_a_torn_end_is_cut(predict: Any, own_place: Path) -> None:
    predict(CsvWriter("whole.csv", ["name", "pred"]))
    stop(predict, CsvWriter("rows.csv", ["name", "pred"]))
    with open("rows.partial.csv", "ab") as file:
        file.write(b'"torn,1.0\r\n0')
    with open("rows.csv.progress", "ab") as file:
        file.write(b'{"batch": [0, 6], "en')
    predict(*going_on(CsvWriter("rows.csv", ["name", "pred"])))
    assert Path("rows.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_rows_that_were_noted_and_lost_are_predicted_again(predict: Any) -> None:
    predict(CsvWriter("whole.csv", ["name", "pred"]))
    stop(predict, CsvWriter("rows.csv", ["name", "pred"]))
    os.truncate("rows.partial.csv", 200)
    predict(*going_on(CsvWriter("rows.csv", ["name", "pred"])))
    assert Path("rows.csv").read_bytes() == Path("whole.csv").read_bytes()


OTHERS = [
    ({"data": lambda: loader(50)}, "batches: it was [15], and is [8]"),
    (
        {"writer": lambda: CsvWriter("rows.csv", ["pred", "name"])},
        "columns: it was ['name', 'pred'], and is ['pred', 'name']",
    ),
    (
        {"data": lambda: loader(sampler=list(range(99, -1, -1)))},
        "batch 0 of the dataloader has other samples than when",
    ),
]


@pytest.mark.parametrize(("change", "message"), OTHERS)
def test_a_prediction_that_is_another_does_not_go_on(predict: Any, change: Any, message: str) -> None:
    make = lambda: CsvWriter("rows.csv", ["name", "pred"])  # noqa: E731
    stop(predict, make())
    before = {path.name: path.read_bytes() for path in Path.cwd().iterdir()}
    with pytest.raises(PredictionError) as caught:
        predict(*going_on(change.get("writer", make)()), data=change.get("data", loader)())
    assert message in str(caught.value)
    assert {path.name: path.read_bytes() for path in Path.cwd().iterdir()} == before


def test_a_new_prediction_leaves_a_stopped_one_alone(predict: Any) -> None:
    stop(predict, CsvWriter("rows.csv", ["name"]))
    with pytest.raises(PredictionError, match=r"rows\.csv\.progress is there: part of a prediction that was stopped"):
        predict(CsvWriter("rows.csv", ["name"]))


def test_a_prediction_that_runs_is_left_alone(predict: Any) -> None:
    def another() -> None:
        with pytest.raises(PredictionError, match="another process writes"):
            predict(*going_on(CsvWriter("rows.csv", ["name"])), data=loader(14))

    class Meanwhile(Predictor):
        def predict_step(self, batch, batch_idx):
            assert exit_code(fork(another)) == 0
            return super().predict_step(batch, batch_idx)

    predict(CsvWriter("rows.csv", ["name"]), module=Meanwhile(), data=loader(14))
    assert Path("rows.csv").is_file()


def test_a_sample_of_the_interrupted_batch_with_a_name_from_before(predict: Any) -> None:
    class Same(Predictor):
        def predict_step(self, batch, batch_idx):
            return {"x": batch["x"], "name": [f"{i}" for i in range(3)] if batch_idx != 1 else ["a", "b", "0"]}

    for writer in (FileWriter("files", "x", "tensor", "name"), *going_on(FileWriter("files", "x", "tensor", "name"))):
        with pytest.raises(PredictionError, match="two samples have the name '0'"):
            predict(writer, module=Same(), data=loader(6, 3))


def test_a_writer_of_the_users(predict: Any, own_place: Path) -> None:
    class Blobs(BaseWriter):
        def write(self, outputs, batch, batch_idx, dataloader_idx):
            self.path.mkdir(exist_ok=True)
            torch.save(outputs["pred"], self.path / f"{batch_idx}.pt")

    stop(predict, Blobs("blobs"))
    assert len(os.listdir("blobs")) == 6
    module = Counts()
    predict(*going_on(Blobs("blobs")), module=module)
    assert len(module.asked) == 9
    assert len(os.listdir("blobs")) == 15
    assert {path.name for path in own_place.iterdir()} == {"blobs"}
    with pytest.raises(PredictionError, match="blobs is there"):
        predict(Blobs("blobs"))
    with pytest.raises(NotImplementedError, match="BaseWriter is to have `write"):
        predict(BaseWriter("nothing"))


def run_and_stop(own_place: Path, **trainer: Any) -> Path:
    job = config("csv", "files")
    job["trainer"] |= trainer
    job["trainer"]["callbacks"].append({"_target_": "tests.callbacks.jobs.StopAt", "batch_idx": 6})
    with pytest.raises(RuntimeError, match="stopped by the test"):
        Runner().run("predict", [job])
    [folder] = own_place.glob("*-*-*/*")
    disarm(folder)
    return folder


def disarm(folder: Path) -> None:
    """Let the run go on: it would stop at the same batch again."""
    saved = (folder / "config.yaml").read_text()
    assert "batch_idx: 6" in saved
    (folder / "config.yaml").write_text(saved.replace("batch_idx: 6", "batch_idx: -1"))


def test_the_runner_goes_on_in_the_runs_folder(own_place: Path) -> None:
    folder = run_and_stop(own_place)
    saved = (folder / "config.yaml").read_bytes()
    outcome = Runner().execute("predict", [folder / "config.yaml"], resume="last")
    assert outcome.folder.path == folder
    assert (folder / "config.yaml").read_bytes() == saved
    assert len((folder / "rows.csv").read_bytes().decode().split("\r\n")) > 100
    assert len(os.listdir(folder / "files")) == 100
    with pytest.raises(PredictionError, match=r"no run under .* has a prediction that was stopped"):
        Runner().run("predict", [folder / "config.yaml"], resume="last")
    Runner().run("predict", resume=folder)  # nothing is left to do
    assert len(list(own_place.glob("*-*-*/*"))) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inputs": ["seed=3"]}, ConfigError, "seed: it was 0, and is 3; a prediction resumes with the config"),
        ({"inputs": ["trainer::max_epochs=3"]}, ConfigError, "trainer::max_epochs: it was not there, and is 3"),
        ({"ckpt_path": "x.ckpt"}, ConfigError, "resumes with the checkpoint that it began with"),
        ({"stage": "fit"}, ConfigError, "`resume` is for a prediction; the stage is `fit`"),
        ({"resume": "nowhere"}, PredictionError, "nowhere is no run's folder: it is not there"),
        ({"resume": "."}, PredictionError, "it has no config.yaml"),
    ],
)  # fmt: skip
def test_what_a_resumed_run_cannot_be_given(own_place: Path, arguments: Any, error: type, message: str) -> None:
    folder = run_and_stop(own_place)
    stage, inputs = arguments.pop("stage", "predict"), arguments.pop("inputs", [])
    with pytest.raises(error) as caught:
        Runner().run(stage, [folder / "config.yaml", *inputs] if inputs else [], **{"resume": folder, **arguments})
    assert message in str(caught.value)


def test_a_run_without_a_prediction(own_place: Path, config: dict[str, Any]) -> None:
    trained = Runner().execute("fit", [{**config, "trainer": {**config["trainer"], "fast_dev_run": True}}])
    with pytest.raises(PredictionError, match=r"there is no prediction to resume in .*: it has no writers"):
        Runner().run("predict", resume=trained.folder.path)


def checkpoint(path: str, **more: Any) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": Predictor().state_dict(), "pytorch-lightning_version": "2.6.6", **more}, path)


def stopped_with(own_place: Path, ckpt_path: str) -> Path:
    """The folder of a prediction from a checkpoint that was stopped."""
    job = {**config("csv"), "run": {"dir": "outputs", "name": "job"}}
    job["trainer"]["callbacks"].append({"_target_": "tests.callbacks.jobs.StopAt", "batch_idx": 6})
    with pytest.raises(RuntimeError, match="stopped by the test"):
        Runner().run("predict", [job], ckpt_path=ckpt_path)
    folder = max(own_place.glob("outputs/*-*-*/*-job"))
    disarm(folder)
    return folder


OF_A_RUN = "outputs/2026-01-01/10-00-00-job/checkpoints/{}.ckpt"


@pytest.mark.parametrize("given", ["best", "last", "relative", "absolute", "url"])
@pytest.mark.parametrize("place", slow_but(["here", "elsewhere", "moved", "copied"], "moved"))
def test_it_goes_on_with_the_checkpoint_however_that_was_named(
    own_place: Path, monkeypatch: pytest.MonkeyPatch, given: str, place: str
) -> None:
    best = OF_A_RUN.format("best")
    checkpoint(best)
    checkpoint(OF_A_RUN.format("last"))
    names = {"relative": best, "absolute": str(own_place / best), "url": f"file://{own_place / best}"}
    folder = stopped_with(own_place, names.get(given, given))
    wanted: Any = "last"
    if place == "elsewhere":
        (own_place / "other").mkdir()
        monkeypatch.chdir(own_place / "other")
        wanted = folder
    elif place == "moved" and given != "url":
        (own_place / "outputs").rename(own_place / "archive")
        wanted = own_place / "archive" / folder.relative_to(own_place / "outputs")
    elif place == "copied":
        wanted = shutil.copytree(folder, own_place / "copy")
    outcome = Runner().execute("predict", resume=wanted)
    assert (outcome.folder.path / "rows.csv").is_file()


def test_the_checkpoint_is_the_one_it_began_with(own_place: Path) -> None:
    checkpoint("weights.ckpt")
    folder = stopped_with(own_place, "weights.ckpt")
    assert f"ckpt_path: {own_place / 'weights.ckpt'}" in (folder / "config.yaml").read_text()
    checkpoint("weights.ckpt", more=1)
    with pytest.raises(PredictionError, match="checkpoint: it was"):
        Runner().run("predict", resume=folder)
