"""What a run leaves on record: before the user's code is imported, while it runs, and however it ends."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml

from lighter import LighterDataModule, LighterModule, Runner
from lighter.config.yaml import dump
from lighter.errors import ConfigError
from lighter.runs import journal
from lighter.runs.secrets import REDACTED
from tests.commands import TESTS, Process, git
from tests.jobs import Classifier, PlainClassifier, mlp

SHORT = ["trainer::max_epochs=1", "trainer::limit_train_batches=3", "trainer::limit_val_batches=1"]
CANARY = "canary-7d0c-nobody-reads-this"


def folders() -> list[Path]:
    return sorted(Path("outputs").glob("*/*"))


def record() -> dict[str, Any]:
    return json.loads((folders()[-1] / "run.json").read_text())


def test_the_checkpoints_of_lightnings_own_trainer_are_recorded(config: dict[str, Any]) -> None:
    Runner().run("fit", [config, "trainer::_target_=pytorch_lightning.Trainer", *SHORT])
    assert [Path(entry["path"]).suffix for entry in record()["checkpoints"]] == [".ckpt"]
    assert all((folders()[0] / entry["path"]).is_file() for entry in record()["checkpoints"])


def test_what_a_fit_records(config: dict[str, Any], own_place: Path) -> None:
    (own_place / "base.yaml").write_text("seed: 5\n")
    (own_place / "job.yaml").write_text("_base_: base.yaml\n" + dump({**config, "seed": 5}))
    Runner().run("fit", ["job.yaml", "model::optimizer::lr=0.02", *SHORT])
    facts = record()
    assert facts["status"] == "finished"
    assert facts["stage"] == "fit"
    assert facts["seed"] == 5
    assert facts["safe"] is False
    assert facts["overrides"] == ["model::optimizer::lr=0.02", *SHORT]
    assert facts["id"] == f"{folders()[0].parent.name}/{folders()[0].name}"
    assert [Path(file["path"]).name for file in facts["inputs"]] == ["job.yaml", "base.yaml"]
    assert len(facts["inputs"][0]["sha256"]) == 64
    assert facts["software"]["packages"]["torch"].startswith("2")
    assert facts["hardware"]["cpus"] == os.cpu_count()
    assert facts["progress"] == {"epoch": 1, "step": 3}
    assert facts["steps_made"] == 3
    assert facts["metrics"]["val/loss/epoch"] > 0
    assert facts["data"]["train"][0]["length"] == 320
    assert len(facts["data"]["train"][0]["fingerprint"]) == 32
    scored = {entry["path"]: entry.get("score") for entry in facts["checkpoints"]}
    assert scored["checkpoints/best.ckpt"] == pytest.approx(facts["metrics"]["val/loss/epoch"])
    origins = yaml.safe_load((folders()[0] / "origins.yaml").read_text())
    assert origins["model::optimizer::lr"] == "command line"
    assert origins["vars::metrics::f1::num_classes"].startswith("job.yaml:")
    losses = (folders()[0] / "losses.csv").read_text().splitlines()
    assert losses[0] == "step,loss"
    assert len(losses) == 4


def test_first_losses_are_exact_and_cost_nothing_later(config: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr("lighter.engine.first_losses.FIRST", 2)
    seen = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.append((outputs["loss"].item(), [type(one).__name__ for one in trainer.callbacks]))

    Runner().run("fit", [config, {"trainer": {"callbacks": [Watch()]}}, *SHORT])
    losses = (folders()[0] / "losses.csv").read_text().splitlines()[1:]
    assert [float(line.split(",")[1]) for line in losses] == [loss for loss, _ in seen[:2]]
    assert ["FirstLosses" in names for _, names in seen] == [True, False, False]


LOOKS = """
import json, pathlib
[record] = pathlib.Path("outputs").glob("*/*/run.json")
assert json.loads(record.read_text())["status"] == "running"
raise ImportError("this file was looking")
"""


def test_the_record_is_there_before_the_users_code(config: dict[str, Any], own_place: Path) -> None:
    (own_place / "looks_at_its_record.py").write_text(LOOKS)
    config["model"] = {"_target_": "looks_at_its_record.Net"}
    with pytest.raises(ImportError, match="this file was looking"):
        Runner().run("fit", [config])
    assert record()["status"] == "failed"
    assert record()["error"] == {"type": "ImportError", "message": "this file was looking"}


class Fails(Classifier):
    def training_step(self, batch, batch_idx):
        if batch_idx == 2:
            raise self.error
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("bad batch"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_how_a_run_ended(config: dict[str, Any], error: BaseException, status: str) -> None:
    config["model"]["_target_"] = "tests.engine.test_record.Fails"
    Fails.error = error
    with pytest.raises(type(error)):
        Runner().run("fit", [config])
    facts = record()
    assert facts["status"] == status
    assert facts["error"]["type"] == type(error).__name__
    assert facts["progress"]["step"] == 2
    assert len((folders()[0] / "losses.csv").read_text().splitlines()) == 3


def test_a_mistake_of_the_config_is_no_run(config: dict[str, Any]) -> None:
    config["model"]["netwrok"] = 1
    with pytest.raises(ConfigError):
        Runner().run("fit", [config])
    assert not folders()


def test_what_cannot_be_recorded_is_a_warning(config: dict[str, Any], monkeypatch: Any, caplog: Any) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "write_whole", full)
    monkeypatch.setattr("lighter.runs.provenance.software", full)
    Runner().run("fit", [config, *SHORT])
    assert "the run's record is not complete: OSError" in caplog.text
    assert not (folders()[0] / "run.json").exists()


class WithToken(PlainClassifier):
    """Saves its secret among its hyperparameters."""

    def __init__(self, lr: float = 0.02, hf_token: str = "", **more: Any) -> None:
        super().__init__(lr)
        self.save_hyperparameters()


class DataWithPassword(LighterDataModule):
    def __init__(self, password: str, **loaders: Any) -> None:
        super().__init__(**loaders)
        self.save_hyperparameters("password")


@pytest.mark.parametrize("weights_only", [False, True])
def test_canaries_appear_nowhere(config: dict[str, Any], own_place: Path, monkeypatch: Any, weights_only: bool) -> None:
    monkeypatch.setenv("OF_THE_ENVIRONMENT_TOKEN", f"{CANARY}-env")
    git("init", "-q", ".")
    (own_place / "code.py").write_text(f'API_KEY = "{CANARY}-1"\nx = 1\n')
    (own_place / ".gitignore").write_text("outputs\n")
    git("add", "-A")
    git("commit", "-qm", "x")
    (own_place / "code.py").write_text(f'API_KEY = "{CANARY}-2"\nx = 2\n')
    (own_place / "new.py").write_text(f"password = '{CANARY}-3'\n")
    config["_imports_"] = {"os": "os"}
    config["vars"] |= {
        "url": f"https://user:{CANARY}-4@host/data?token={CANARY}-5",
        "password": f"{CANARY}-6",
        "api_key": None,
        "read": ["@vars::api_key"],
        "from_environment": "$os.environ['OF_THE_ENVIRONMENT_TOKEN']",
    }
    config["model"] = {
        "_target_": "tests.engine.test_record.WithToken",
        "hf_token": "@vars::from_environment",
        "more": {"a": f"x{CANARY}-6x"},
    }
    config["data"] |= {"_target_": "tests.engine.test_record.DataWithPassword", "password": f"{CANARY}-8"}
    checkpoint = {"_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "save_weights_only": weights_only}
    config["trainer"]["callbacks"] = [checkpoint]
    monkeypatch.setattr(sys, "argv", ["lighter", "fit", f"vars::api_key={CANARY}-7"])
    Runner().run("fit", [config, f"vars::api_key={CANARY}-7", *SHORT])
    read = [path for path in own_place.glob("outputs/**/*") if path.is_file()]
    names = {path.name for path in read}
    assert {"run.json", "config.yaml", "source.patch", "new.py", "hparams.yaml", "run.log"} <= names
    assert any(name.endswith(".ckpt") for name in names)
    for path in read:
        assert CANARY.encode() not in path.read_bytes(), path
    saved = yaml.safe_load((folders()[0] / "config.yaml").read_text())
    assert saved["vars"]["from_environment"] == "$os.environ['OF_THE_ENVIRONMENT_TOKEN']"
    assert saved["vars"]["password"] == REDACTED
    assert REDACTED in (folders()[0] / "hparams.yaml").read_text()


def test_a_saved_config_asks_for_its_secrets(config: dict[str, Any]) -> None:
    config["vars"] |= {"password": CANARY, "read": "@vars::password"}
    Runner().run("fit", [config, *SHORT])
    saved = folders()[0] / "config.yaml"
    with pytest.raises(ConfigError, match=r"vars::password: this is a secret.*\n.*\n.*\n.*vars::password=VALUE"):
        Runner().run("fit", [saved])
    Runner().run("fit", [saved, "vars::password=another"])


class TakesAnything(LighterModule):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)

    def training_step(self, batch, batch_idx):
        return self.criterion(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        return self.criterion(self(batch[0]), batch[1])


def test_the_config_is_in_the_checkpoints_of_a_module_that_takes_anything(config: dict[str, Any]) -> None:
    config["model"]["_target_"] = "tests.engine.test_record.TakesAnything"
    Runner().run("fit", [config, *SHORT])
    path = folders()[0] / "checkpoints" / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    assert saved["lighter"]["config"]["trainer"]["max_epochs"] == 1
    TakesAnything.load_from_checkpoint(path, network=mlp(), weights_only=True)


@pytest.mark.slow
def test_a_killed_run_is_found_lost(config: dict[str, Any], own_place: Path) -> None:
    from lighter.runs.read import read_run

    config["trainer"] |= {"max_epochs": 10_000, "enable_checkpointing": False}
    (own_place / "job.yaml").write_text(dump(config))
    process = Process("lighter", "fit", "job.yaml", environment=TESTS)
    process.wait_until(lambda: any(own_place.glob("outputs/*/*/losses.csv")))
    assert read_run(folders()[0]).status == "running"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_run(folders()[0]).status == "lost"
    assert record()["status"] == "running", "nobody writes it"


def test_a_test_lists_no_checkpoints_but_the_one_that_it_used(config: dict[str, Any]) -> None:
    Runner().run("fit", [config, *SHORT])
    Runner().run("test", [config], ckpt_path="last")
    facts = record()
    assert facts["stage"] == "test"
    assert "checkpoints" not in facts
    assert facts["checkpoint"].endswith("checkpoints/last.ckpt")


def test_objects_made_in_python_are_named_and_not_run_from_the_file(config: dict[str, Any], caplog: Any) -> None:
    config["model"]["network"] = mlp()
    config["vars"] = {**config["vars"], "api_keys": {"x": CANARY}}
    Runner().run("fit", [config, *SHORT])
    [line] = [one.getMessage() for one in caplog.records if "made in Python" in one.getMessage()]
    assert line == "objects made in Python are not saved, so config.yaml lacks: model::network"
    file = folders()[-1] / "config.yaml"
    mark = "<not saved: an object of torch.nn.modules.container.Sequential>"
    assert yaml.safe_load(file.read_text())["model"]["network"] == mark
    with pytest.raises(ConfigError) as caught:
        Runner().run("fit", [file, "~vars::api_keys"])
    assert "model::network: this was an object made in Python, which was not saved" in str(caught.value)
    for path in folders()[0].rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes(), path
