"""Members are runs of one group in each tracker, also once they have paused and resumed."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lighter.experiments.trackers import variables
from tests.lightning.test_loggers import NEEDED, read_wandb

ROOT = Path(__file__).parents[2]
EXPERIMENT, MEMBER = "2026-11-29/14-03-55-digits", "trial-0007-seed-1"


def test_variables_of_a_member() -> None:
    found = variables(EXPERIMENT, MEMBER, {"PATH": "/bin"})
    assert {name: found[name] for name in found if name.startswith("WANDB")} == {
        "WANDB_RUN_GROUP": EXPERIMENT,
        "WANDB_NAME": MEMBER,
        "WANDB_JOB_TYPE": "member",
    }
    assert json.loads(found["MLFLOW_RUN_CONTEXT"]) == {"experiment": EXPERIMENT, "mlflow.runName": MEMBER}


def test_what_the_user_has_set_goes_first() -> None:
    present = {"WANDB_RUN_GROUP": "mine", "MLFLOW_RUN_CONTEXT": '{"experiment": "mine", "team": "a"}'}
    found = variables(EXPERIMENT, MEMBER, present)
    assert sorted(found) == ["MLFLOW_RUN_CONTEXT", "WANDB_JOB_TYPE", "WANDB_NAME"]
    tags = {"experiment": "mine", "mlflow.runName": MEMBER, "team": "a"}
    assert json.loads(found["MLFLOW_RUN_CONTEXT"]) == tags


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_what_is_no_tags_is_left_to_mlflow(text: str) -> None:
    assert "MLFLOW_RUN_CONTEXT" not in variables(EXPERIMENT, MEMBER, {"MLFLOW_RUN_CONTEXT": text})


def train(name: str, folder: Path) -> None:
    """Train a member up to its pause, or on to its end."""
    for package in NEEDED.get(name, ()):
        pytest.importorskip(package)
    quiet = {"WANDB_SILENT": "true", "WANDB_MODE": "offline", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment = {**os.environ, **quiet, "PYTHONPATH": str(ROOT), **variables(EXPERIMENT, MEMBER, {})}
    command = [sys.executable, "-m", "tests.experiments.tracker_jobs", name, str(folder / MEMBER), str(folder / "logs")]
    subprocess.run(command, check=True, env=environment, cwd=folder)


@pytest.mark.slow
def test_mlflow(tmp_path: Path) -> None:
    train("mlflow", tmp_path)
    # MLflow itself changes much of this process
    with sqlite3.connect(tmp_path / "logs/mlflow.db") as database:
        select = database.execute
        assert select("SELECT status, name FROM runs").fetchall() == [("FINISHED", MEMBER)]
        assert select("SELECT value FROM tags WHERE key = 'experiment'").fetchall() == [(EXPERIMENT,)]
        lr = select("SELECT value FROM params WHERE key = 'config/model/optimizer/lr'").fetchall()
        assert lr == [("0.01",)]
        train("mlflow", tmp_path)
        assert select("SELECT status, name FROM runs").fetchall() == [("FINISHED", MEMBER)]
        steps = select("SELECT step FROM metrics WHERE key = 'val/loss/epoch' ORDER BY step").fetchall()
        assert steps == [(9,), (19,)]
    database.close()


@pytest.mark.slow
def test_wandb(tmp_path: Path) -> None:
    train("wandb", tmp_path)
    train("wandb", tmp_path)
    runs = []
    for path in sorted(tmp_path.glob("logs/wandb/offline-run-*/run-*.wandb")):
        records = list(read_wandb(path.read_bytes()))
        runs += [record.run for record in records if record.HasField("run")][:1]
        assert [record.exit.exit_code for record in records if record.HasField("exit")] == [0]
    assert [(run.run_group, run.display_name, run.job_type) for run in runs] == [(EXPERIMENT, MEMBER, "member")] * 2
    assert len({run.run_id for run in runs}) == 1


@pytest.mark.long
def test_tensorboard(tmp_path: Path) -> None:
    train("tensorboard", tmp_path)
    train("tensorboard", tmp_path)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = {path.parent for path in tmp_path.rglob("events.out.*")}
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [event.step for event in events.Scalars("val/loss/epoch")] == [9, 19]
