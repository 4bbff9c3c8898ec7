"""Two processes (CPU, gloo), started by Lightning and by torchrun, against plain Lightning and against one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.commands import TESTS, run_command
from tests.lightning.compare import TRAINERS, config_of, equal
from tests.lightning.rungs import experiment

LIGHTNING = ["lighter"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "lighter"]
DDP = """
strategy: ddp
devices: 2
enable_checkpointing: true
logger: {_target_: pytorch_lightning.loggers.CSVLogger, save_dir: logs}
callbacks: [{_target_: tests.lightning.jobs.Report}]
"""
BY_HAND = """
import yaml
from tests.commands import TESTS, run_command
from tests.lightning.compare import by_hand
if __name__ == "__main__":
    by_hand(yaml.safe_load(open("job.yaml")))
"""
# torchrun ends the first process when the second has failed
SLOW = """
import os, time
from tests.lightning.jobs import Validated
class Slow(Validated):
    def __init__(self):
        super().__init__()
        time.sleep(2 * (os.environ["RANK"] == "0"))
"""

pytestmark = pytest.mark.long


def run(*words: str) -> dict[int, Any]:
    """Run a command; returns what each rank reports."""
    for path in Path().glob("report-*"):
        path.unlink()
    done = run_command(*words, environment=TESTS)
    assert done.returncode == 0, done.stderr
    return {int(path.stem[-1]): json.loads(path.read_text()) for path in Path().glob("report-*.json")}


def write(config: dict[str, Any]) -> None:
    config["trainer"].update(yaml.safe_load(DDP))
    Path("job.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def test_training_is_that_of_plain_lightning_and_leaves_one_folder(own_place):
    config = config_of("model: {_target_: tests.lightning.jobs.Validated}", "Lightning's trainer")
    write(config)
    Path("by_hand.py").write_text(BY_HAND)
    plain = run("by_hand.py")
    wanted = torch.load("weights.pt", weights_only=True)
    assert plain.keys() == {0, 1}
    for starter, trainer in ((LIGHTNING, "Lightning's trainer"), (TORCHRUN, "lighter.Trainer")):
        config["trainer"].update(TRAINERS[trainer])
        write(config)
        before = set(own_place.glob("outputs/*/*"))
        ranks = run(*starter, "fit", "job.yaml")
        assert {rank: report["values"] for rank, report in ranks.items()} == {
            rank: report["values"] for rank, report in plain.items()
        }
        assert equal(torch.load("weights.pt", weights_only=True), wanted)
        [folder] = set(own_place.glob("outputs/*/*")) - before
        assert {report["folder"] for report in ranks.values()} == {str(folder)}
        assert (folder / "config.yaml").is_file()
        assert (folder / "run.log").read_text().count("finished") == 1
        assert list((folder / "checkpoints").glob("*.ckpt"))


def test_two_processes_under_torchrun_measure_what_one_does():
    write(experiment("steps"))
    two = run(*TORCHRUN, "validate", "job.yaml")
    one = run(*LIGHTNING, "validate", "job.yaml", "trainer::devices=1", "trainer::strategy=auto")
    assert two[0]["values"] == two[1]["values"]
    assert two[0]["values"] == pytest.approx(one[0]["values"], rel=1e-6)
    assert one[0]["values"]


def test_ranks_of_torchrun_find_the_project(own_place):
    (own_place / "__lighter__.py").touch()
    (own_place / "mine.py").write_text("from tests.lightning.jobs import Validated\nclass Mine(Validated):\n    pass\n")
    write(config_of("model: {_target_: project.mine.Mine}"))
    assert run(*TORCHRUN, "fit", "job.yaml", "trainer::fast_dev_run=true").keys() == {0, 1}


def test_a_run_that_does_not_start_leaves_nothing_under_torchrun(own_place):
    config = config_of("model: {_target_: tests.lightning.jobs.Validated}")
    config["project"] = "."
    config["model"] = {"_target_": "project.slow.Slow"}
    (own_place / "__lighter__.py").touch()
    (own_place / "slow.py").write_text(SLOW)
    write(config)
    words = [*TORCHRUN, "fit", "job.yaml", "--ckpt_path", "last"]
    done = run_command(*words, environment=TESTS)
    assert done.returncode != 0
    assert "there is no last checkpoint" in done.stderr
    assert not list(own_place.glob("outputs/*/*"))
