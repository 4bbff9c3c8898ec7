"""The measurement contract on two processes (CPU, gloo): every rank sees what one process would compute."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from lighter import Runner
from lighter.config.yaml import dump
from tests.commands import TESTS, run_command

TWO = ("trainer::strategy=ddp", "trainer::devices=2")

pytestmark = pytest.mark.slow


def run(
    stage: str, config: dict[str, Any], *words: str, launch: tuple[str, ...] = ("lighter",)
) -> subprocess.CompletedProcess[str]:
    callbacks = [*config["trainer"].get("callbacks", []), {"_target_": "tests.jobs.KeepMetrics"}]
    config["trainer"] = {**config["trainer"], "callbacks": callbacks}
    Path("digits.yaml").write_text(dump(config))
    done = run_command(*launch, stage, "digits.yaml", *words, environment=TESTS)
    assert done.returncode == 0, done.stderr
    return done


def metrics(world: int, rank: int) -> dict[str, float]:
    return json.loads(Path(f"metrics-{world}-{rank}.json").read_text())


def test_both_ranks_see_what_one_process_computes(config: dict[str, Any]) -> None:
    run("validate", config)
    run("validate", config, *TWO)
    assert metrics(2, 0) == metrics(2, 1)
    assert metrics(2, 0) == pytest.approx(metrics(1, 0), rel=1e-6)
    assert {"val/loss/epoch", "val/metrics/accuracy/epoch", "val/metrics/f1/epoch"} == set(metrics(2, 0))


def test_evaluators_see_the_shares_of_all_ranks(config: dict[str, Any]) -> None:
    model = config["model"]
    config["model"] = {"_target_": "tests.jobs.ForwardClassifier", "model": model["network"]}
    config["model"]["evaluator_cfg"] = {"val": model["val_metrics"]}
    run("validate", config)
    run("validate", config, *TWO)
    assert metrics(2, 0) == metrics(2, 1)
    assert metrics(2, 0) == pytest.approx(metrics(1, 0), rel=1e-6)
    assert {"val/loss/total/epoch", "val/metrics/accuracy/epoch", "val/metrics/f1/epoch"} < set(metrics(2, 0))


def test_uneven_shares_say_so_and_losses_that_one_rank_skips_do_not_hang(config: dict[str, Any]) -> None:
    config["model"]["_target_"] = "tests.test_ddp_jobs.OnFirstRankOnly"
    config["data"]["val_dataloader"]["dataset"]["end"] = 391  # 71 samples on two ranks
    done = run("validate", config, *TWO)
    assert "71 samples on 2 processes" in done.stderr
    assert metrics(2, 0)["val/loss/total/epoch"] == metrics(2, 1)["val/loss/total/epoch"]


def test_training_on_two_processes_leaves_one_run_folder(config: dict[str, Any], own_place: Path) -> None:
    run("fit", config, *TWO)
    first, second = metrics(2, 0), metrics(2, 1)
    assert {name: first[name] for name in first if name.endswith("/epoch")} == {
        name: second[name] for name in second if name.endswith("/epoch")
    }
    assert first["train/loss/epoch"] < 2.0
    [folder] = own_place.glob("outputs/*/*")
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert (folder / "metrics.csv").is_file()


def test_spawned_ranks_find_the_project_and_build_their_optimizers(config: dict[str, Any], own_place: Path) -> None:
    (own_place / "__lighter__.py").touch()
    (own_place / "nets.py").write_text("from tests.jobs import Classifier\nclass Mine(Classifier):\n    pass\n")
    config["model"]["_target_"] = "project.nets.Mine"
    config["model"]["optimizer"]["lr"] = "$math.sqrt(0.0001)"
    config["_imports_"] = {"math": "math"}
    run("fit", config, "trainer::strategy=ddp_spawn", "trainer::devices=2", "trainer::max_epochs=1")
    assert metrics(2, 0)["train/lr"] == 0.01


def test_a_rank_that_measures_nothing_takes_part(config: dict[str, Any]) -> None:
    config["model"]["_target_"] = "tests.test_ddp_jobs.NothingOnSecondRank"
    run("validate", config, *TWO)
    assert "val/loss/epoch" in metrics(2, 0)
    assert "val/metrics/f1/epoch" in metrics(2, 0)


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "lighter")


@pytest.mark.parametrize(
    ("strategy", "launch"),
    [("ddp", ("lighter",)), ("ddp_spawn", ("lighter",)), ("ddp", TORCHRUN)],
    ids=["ddp", "spawn", "torchrun"],
)
def test_each_rank_runs_the_prediction_tasks_on_its_share(
    strategy: str, launch: tuple[str, ...], config: dict[str, Any], own_place: Path
) -> None:
    config["model"] |= {"_target_": "tests.task_jobs.Beside", "predict_tasks": ["probs", "misread"]}
    alone = Runner().execute("predict", [config, "run::name=one"]).folder.predictions
    two = (f"trainer::strategy={strategy}", "trainer::devices=2", "run::name=two")
    done = run("predict", config, *two, launch=launch)
    [shared] = own_place.glob("outputs/*/*-two/predictions")
    every = torch.load(alone / "probs/rank-0.pt")
    assert len(every) == 50
    for rank in (0, 1):
        torch.testing.assert_close(torch.load(shared / f"probs/rank-{rank}.pt"), every[rank::2])
    assert sorted(path.name for path in (shared / "misread").iterdir()) == ["rank-0.json", "rank-1.json"]
    assert "predictions/probs (2 files)" in done.stdout
