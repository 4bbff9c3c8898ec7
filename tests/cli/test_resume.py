"""`lighter resume` and `lighter reproduce` as whole commands, after a kill and from a dirty checkout."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from lighter.config.yaml import dump
from tests.cli.test_command import command
from tests.commands import TESTS, Process, git
from tests.runs.resume.jobs import logged

SLOW_DATA = """
import time
from torch.utils.data import Dataset
from tests.jobs import digits

class Slow(Dataset):
    def __init__(self):
        self.digits = digits(0, 320)
    def __len__(self):
        return 320
    def __getitem__(self, index):
        time.sleep(0.001)
        return self.digits[index]
"""


UNCOMMITTED = """
from tests.jobs import mlp
from more import scale

def net():
    net = mlp()
    net[0].weight.data.mul_(scale)
    return net
"""


@pytest.mark.faults
def test_resume_after_kill_9(config: dict[str, Any], own_place: Path) -> None:
    (own_place / "slow.py").write_text(SLOW_DATA)
    config["data"]["train_dataloader"]["dataset"] = {"_target_": "slow.Slow"}
    config["trainer"] |= {"max_epochs": 4, "log_every_n_steps": 3}
    (own_place / "job.yaml").write_text(dump(config))
    assert command("fit", "job.yaml", "run::name=whole").returncode == 0
    process = Process("lighter", "fit", "job.yaml", "--auto-resume", environment=TESTS)
    process.wait_until(lambda: any(own_place.glob("outputs/*/*-job/checkpoints/last.ckpt")))
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    listed = json.loads(command("runs", "list", "--name", "job", "--json").stdout)
    assert [run["status"] for run in listed] == ["lost"]
    resumed = command("fit", "job.yaml", "--auto-resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumes with all of" in resumed.stderr
    [whole] = own_place.glob("outputs/*/*-whole")
    [cut] = own_place.glob("outputs/*/*-job")
    assert logged(cut / "metrics.csv") == logged(whole / "metrics.csv")
    finished = command("resume", cut.name)
    assert finished.returncode == 2
    assert "is finished. To train for longer" in finished.stderr
    longer = command("resume", "last", "trainer::max_epochs=5")
    assert longer.returncode == 0, longer.stderr
    assert json.loads((cut / "run.json").read_text())["progress"] == {"epoch": 5, "step": 50}


@pytest.mark.slow
def test_a_run_from_a_dirty_checkout_is_repeated(config: dict[str, Any], own_place: Path) -> None:
    git("init", "-q", ".")
    (own_place / "nets.py").write_text("from tests.jobs import mlp\n")
    (own_place / ".gitignore").write_text("outputs\n__pycache__\n")
    config["model"]["network"] = {"_target_": "nets.net"}
    config["trainer"] |= {"max_epochs": 1}
    (own_place / "job.yaml").write_text(dump(config))
    git("add", "-A")
    git("commit", "-qm", "x")
    (own_place / "nets.py").write_text(UNCOMMITTED)
    (own_place / "more.py").write_text("scale = 0.5\n")
    assert command("fit", "job.yaml").returncode == 0
    [first] = own_place.glob("outputs/*/*")
    (own_place / "nets.py").write_text("raise RuntimeError('this is not the code of then')\n")
    (own_place / "more.py").unlink()
    again = command("reproduce", "last", "--verify", "10")
    assert again.returncode == 0, again.stdout
    assert "with its uncommitted changes and 1 file that git did not know is restored" in again.stdout
    assert "environment: the same packages and hardware" in again.stdout
    assert "the first 10 losses are the same, bit for bit" in again.stdout
    assert "data and results: the same" in again.stdout
    [second] = set(own_place.glob("outputs/*/*")) - {first}
    assert json.loads((second / "run.json").read_text())["reproduces"] == f"{first.parent.name}/{first.name}"

    losses = first / "losses.csv"
    losses.write_text(losses.read_text().replace("\n3,", "\n3,1"))
    other = command("reproduce", str(first), "--verify", "10")
    assert other.returncode == 1
    assert "1 of 10 losses differ, the first at step 3" in other.stdout
    assert command("reproduce", str(first), "--verify", "11").returncode == 2
