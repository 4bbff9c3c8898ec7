"""Loggers: the merged config in each, and the same values at the same steps, as plain Lightning gives them."""

from __future__ import annotations

import csv
import importlib
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lightning.compare import Rows, Run, by_hand, config_of, with_lighter
from tests.lightning.rungs import RUNGS, experiment

LOGGERS = {
    "csv": "{_target_: pytorch_lightning.loggers.CSVLogger, save_dir: logs}",
    "tensorboard": "{_target_: pytorch_lightning.loggers.TensorBoardLogger, save_dir: logs}",
    "mlflow": "{_target_: pytorch_lightning.loggers.MLFlowLogger, tracking_uri: 'sqlite:///logs/mlflow.db'}",
    "wandb": "{_target_: pytorch_lightning.loggers.WandbLogger, save_dir: logs, offline: true}",
}
NEEDED = {"mlflow": ("mlflow", "sqlalchemy", "alembic"), "wandb": ("wandb",), "tensorboard": ("tensorboard",)}
VALUES = ("train_loss", "val_loss")
Values = dict[str, list[tuple[int, float]]]


def logged_by_csv(run: Run, logger: Any) -> Values:
    with open(Path(logger.log_dir) / "metrics.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [(int(row["step"]), float(row[name])) for row in rows if row[name]] for name in VALUES}


def logged_by_tensorboard(run: Run, logger: Any) -> Values:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(logger.log_dir)
    events.Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in VALUES}


def logged_by_mlflow(run: Run, logger: Any) -> Values:
    client = logger.experiment
    return {name: [(m.step, m.value) for m in client.get_metric_history(logger.run_id, name)] for name in VALUES}


def logged_by_wandb(run: Run, logger: Any) -> Values:
    """From the file that `wandb sync` would send."""
    rows = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in wandb_records(logger)
        if record.HasField("history")
    ]
    return {name: [(row["trainer/global_step"], row[name]) for row in rows if name in row] for name in VALUES}


def wandb_records(logger: Any) -> list[Any]:
    """What W&B's own process writes, which it goes on with for a while after the run is finished."""
    logger.experiment.finish()
    [path] = Path(logger.save_dir).glob(f"wandb/*{logger.version}/run-*.wandb")
    for _ in range(200):
        records = list(read_wandb(path.read_bytes()))
        if records and records[-1].HasField("exit"):
            return records
        time.sleep(0.1)
    raise AssertionError(f"{path} has no end")


def read_wandb(log: bytes) -> Iterator[Any]:
    """A log in LevelDB's format: blocks of 32 KiB of pieces, each with checksum, length and kind, after 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    at, record = 7, b""
    while at + 7 <= len(log):
        if 32768 - at % 32768 < 7:  # no room for another head
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", log[at + 4 : at + 7])
        record += log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def config_in_csv(logger: Any) -> Any:
    return yaml.safe_load((Path(logger.log_dir) / "hparams.yaml").read_text())["config"]


def config_in_mlflow(logger: Any) -> dict[str, str]:
    return logger.experiment.get_run(logger.run_id).data.params


def config_in_wandb(logger: Any) -> Any:
    updates = [record.config.update for record in wandb_records(logger) if record.HasField("config")]
    [config] = [json.loads(item.value_json) for update in updates for item in update if item.key == "config"]
    return config


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


def fitted(names: list[str], trainer: str) -> tuple[Run, Run]:
    """A run with loggers, and by hand one that keeps its rows."""
    for name in names:
        for package in NEEDED.get(name, ()):
            pytest.importorskip(package)
    logs = Path("logs").absolute()  # W&B's process stays where it was started
    logs.mkdir()
    text = "model: {_target_: tests.lightning.jobs.Validated}\n"
    wanted = ", ".join(LOGGERS[name] for name in names).replace("logs", str(logs))
    config = config_of(f"{text}trainer: {{logger: [{wanted}]}}", trainer)
    return with_lighter(config), by_hand(config_of(text, trainer))


@pytest.mark.parametrize("names", [["csv"], ["csv", "tensorboard"]], ids=" and ".join)
def test_loggers_have_the_config_and_lightnings_values(names, trainer):
    check(names, trainer)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # theirs
def test_four_loggers_at_once(trainer, quiet):
    check([*LOGGERS], trainer)


def check(names: list[str], trainer: str) -> None:
    ours, plain = fitted(names, trainer)
    saved = yaml.safe_load((ours.folder / "config.yaml").read_text())
    assert len(ours.trainer.loggers) == len(names)
    for name, logger in zip(names, ours.trainer.loggers, strict=True):
        logged = globals()[f"logged_by_{name}"](ours, logger)
        for value in VALUES:
            wanted = plain.column(value)
            assert wanted
            assert logged[value] == [(step, pytest.approx(number, rel=1e-6)) for step, number in wanted], (name, value)
        if name == "tensorboard":
            assert (Path(logger.log_dir) / "hparams.yaml").is_file()
        elif name == "mlflow":
            assert config_in_mlflow(logger)["config/trainer/max_epochs"] == str(saved["trainer"]["max_epochs"])
        else:
            assert globals()[f"config_in_{name}"](logger) == saved


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if rung != "plain"])
def test_the_values_of_the_rungs_reach_every_logger(rung, trainer):
    pytest.importorskip("tensorboard")
    Path("logs").mkdir()
    rows = "{_target_: tests.lightning.compare.Rows}"
    loggers = ", ".join([LOGGERS["csv"], LOGGERS["tensorboard"], rows])
    ours = with_lighter(experiment(rung, f"trainer: {{logger: [{loggers}]}}", trainer))
    name = "loss/total" if rung == "forward" else "loss"
    names = [f"train/{name}/step", f"val/{name}/epoch", "train/lr"]
    kept = next(logger for logger in ours.trainer.loggers if isinstance(logger, Rows))
    with open(Path(ours.trainer.loggers[0].log_dir) / "metrics.csv", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    accumulator = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(ours.trainer.loggers[1].log_dir)
    events.Reload()
    for name in names:
        wanted = [(step, pytest.approx(number, rel=1e-6)) for step, number in kept.column(name)]
        assert wanted
        assert [(int(row["step"]), float(row[name])) for row in table if row[name]] == wanted
        assert [(event.step, event.value) for event in events.Scalars(name)] == wanted
