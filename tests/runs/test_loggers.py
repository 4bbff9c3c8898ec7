"""Loggers of a run: where they write, by which names they are had, and what stays beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import yaml
from pytorch_lightning.loggers import Logger

import lighter
from lighter import Runner
from lighter.errors import ConfigError
from lighter.files.run_folder import RunFolder, all_runs
from lighter.runs.loggers import folder_argument, places
from tests.runs.resume.jobs import fit_until, logged, newest
from tests.slow import mostly_slow

TENSORBOARD = {"_target_": "pytorch_lightning.loggers.TensorBoardLogger"}
CSV = {"_target_": "pytorch_lightning.loggers.CSVLogger"}
OWN = "lightning_logs/version_0"


class Notes(Logger):
    """A logger of a user's, which leaves a file."""

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self.folder = Path(save_dir)

    name = version = None

    @property
    def log_dir(self) -> str:
        return str(self.folder)

    def log_hyperparams(self, params: Any) -> None:
        """Nothing."""

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        (self.folder / "notes.txt").write_text(repr(metrics))


@pytest.fixture
def job(config: dict[str, Any]) -> dict[str, Any]:
    config["trainer"] |= {"max_epochs": 1, "log_every_n_steps": 3}
    return config


def run(job: dict[str, Any], logger: Any, **trainer: Any) -> tuple[RunFolder, pl.Trainer]:
    job["trainer"] |= {"logger": logger, **trainer}
    outcome = Runner().execute("fit", [job])
    return outcome.folder, outcome.trainer


def files(folder: Path) -> set[str]:
    """The folders with events, rows or notes, and the rows' files."""
    found = [path for path in folder.rglob("*") if path.name.startswith(("events.out", "metrics.csv", "notes"))]
    return {str((path if path.suffix == ".csv" else path.parent).relative_to(folder)) for path in found}


@pytest.mark.parametrize(
    ("logger", "expected"),
    [
        ("tensorboard", {"tensorboard", "metrics.csv"}),
        (["tensorboard"], {"tensorboard", "metrics.csv"}),
        (["csv", "tensorboard"], {"tensorboard", "metrics.csv"}),
        ("@vars::log", {"tensorboard", "metrics.csv"}),
        ("csv", {"metrics.csv"}),
        (TENSORBOARD, {OWN, "metrics.csv"}),
        ([TENSORBOARD | {"save_dir": "$@run::folder + '/x'"}], {f"x/{OWN}", "metrics.csv"}),
        (CSV, {f"{OWN}/metrics.csv"}),
        ({"_target_": f"{__name__}.Notes"}, {".", "metrics.csv"}),
        (False, set()),
    ],
    ids=lambda value: None if isinstance(value, set) else str(value),  # sets have another order in each process
)
def test_loggers_write_into_the_runs_folder(job: dict[str, Any], logger: Any, expected: set[str]) -> None:
    job["vars"] |= {"log": "tensorboard"}
    folder, trainer = run(job, logger)
    assert files(folder.path) == expected
    assert {where for _, where in places(trainer)} == {
        str(folder.path / name.removesuffix("metrics.csv")) for name in expected
    }


def test_metrics_csv_comes_after_the_loggers_of_the_config(job: dict[str, Any]) -> None:
    assert [type(one).__name__ for one in run(job, "tensorboard")[1].loggers] == ["TensorBoardLogger", "CSVLogger"]


def test_a_folder_of_the_trainers_counts(job: dict[str, Any], tmp_path: Path) -> None:
    run(job, TENSORBOARD, default_root_dir=str(tmp_path / "elsewhere"))
    assert files(tmp_path / "elsewhere") == {OWN}


def test_another_run_of_a_saved_config_has_a_folder_of_its_own(job: dict[str, Any]) -> None:
    first, _ = run(job, [TENSORBOARD | {"save_dir": "@run::folder"}, "tensorboard"])
    saved = yaml.safe_load(first.config.read_text())
    assert saved["trainer"]["logger"] == [TENSORBOARD | {"save_dir": "@run::folder"}, "tensorboard"]
    assert "run" not in saved
    before = files(first.path)
    Runner().run("fit", [str(first.config)])
    folders = [folder.path for folder in all_runs(Path("outputs"))]
    assert len(folders) == 2
    assert [files(folder) for folder in folders] == [before, before]
    assert not Path("lightning_logs").exists()


@pytest.mark.parametrize("logger", mostly_slow(["tensorboard", ["csv", "tensorboard"], [TENSORBOARD]]), ids=str)
def test_they_go_on_in_the_runs_folder(job: dict[str, Any], logger: Any) -> None:
    job["trainer"] |= {"logger": logger, "max_epochs": 3}
    Runner().run("fit", [job, "run::name=whole"])
    whole = newest()
    folder = fit_until(17, [job, "run::name=cut"])
    before = files(folder)
    Runner().resume("last")
    assert logged(folder / "metrics.csv") == logged(whole / "metrics.csv")
    assert files(folder) == before == files(whole)


def test_build_makes_no_folder(job: dict[str, Any], own_place: Path) -> None:
    job["trainer"]["logger"] = [TENSORBOARD, TENSORBOARD | {"save_dir": "@run::folder"}]
    trainer = lighter.build(job).trainer
    assert [Path(one.save_dir).resolve() for one in trainer.loggers] == [own_place.resolve()] * 2


def test_a_relative_default_is_within_the_folder() -> None:
    class Tracker:
        def __init__(self, save_dir: str = "./mlruns") -> None:
            """Like MLflow's."""

    assert folder_argument(Tracker, {}) == "mlruns"
    assert folder_argument(Tracker, {"save_dir": "x"}) is None
    assert folder_argument(dict, {}) is None


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("logger", "$'wandb'", r"trainer::logger: this is no logger"),
        ("logger", "$5", r"trainer::logger: this is no logger"),
        ("logger", ["$None", "csv"], r"trainer::logger::0: this is no logger"),
        ("callbacks", ["$5"], r"trainer::callbacks.*: this is no callback"),
        ("logger", "wandb", r"trainer::logger: WandbLogger needs the package `wandb`, which is not installed"),
        ("logger", ["csv", "mlflow"], r"trainer::logger::1: MLFlowLogger needs the package `mlflow`"),
    ],
)
def test_what_is_no_logger_is_a_mistake_of_the_config(job: dict[str, Any], key: str, value: Any, message: str) -> None:
    job["trainer"][key] = value
    with pytest.raises(ConfigError, match=message) as caught:
        Runner().execute("fit", [job])
    assert len(caught.value.problems) == 1


def test_a_logger_of_an_expression(job: dict[str, Any]) -> None:
    job["_imports_"] = {"loggers": "pytorch_lightning.loggers"}
    _, trainer = run(job, "$loggers.CSVLogger('mine')")
    assert trainer.loggers[0].save_dir == "mine"
