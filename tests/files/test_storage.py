"""Paths in other storages than disks: fsspec's work as in Lightning, or are refused; none becomes a local folder."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from click.testing import CliRunner
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.demos.boring_classes import BoringModel

import lighter
from lighter.callbacks import CsvWriter
from lighter.cli import cli
from lighter.errors import CheckpointError, ConfigError, ModuleValueError, PredictionError
from lighter.files import storage
from lighter.trainer.csv_logger import CSVLogger
from tests.callbacks.jobs import Predictor, loader

ROOT = "memory://root"
QUIET = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
SHORT = {**QUIET, "limit_train_batches": 3, "limit_val_batches": 1}
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:Experiment logs directory")


class Logs(BoringModel):
    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        output = super().validation_step(batch, batch_idx)
        self.log("val/loss/epoch", output["x"])
        return output


@pytest.fixture
def memory() -> Iterator[Any]:
    """A storage that is none of a disk's."""
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.mark.parametrize(
    ("path", "disk", "normal"),
    [
        ("runs/a", "runs/a", "runs/a"),
        ("C:/runs", "C:/runs", "C:/runs"),
        ("file:///runs/a", "/runs/a", "/runs/a"),
        ("local:///runs/a", "/runs/a", "/runs/a"),
        ("s3://bucket/a", None, "s3://bucket/a"),
        (Path("s3://bucket/a"), None, "s3://bucket/a"),
        ("simplecache::s3://bucket/a", None, "simplecache::s3://bucket/a"),
        ("ours://a", None, "ours://a"),
        (Path("ours:/a"), "ours:/a", "ours:/a"),
    ],
)
def test_what_is_on_a_disk(path: Any, disk: str | None, normal: str) -> None:
    assert storage.on_disk(path) == (None if disk is None else Path(disk))
    assert storage.is_remote(path) == (disk is None)
    assert storage.normal(path) == normal


@pytest.mark.parametrize("root", [ROOT, Path(ROOT)])
@pytest.mark.parametrize("async_save", [False, True])
def test_a_fit_is_in_its_storage_and_goes_on_from_there(
    root: Any, async_save: bool, memory: Any, own_place: Path
) -> None:
    trainer = lighter.Trainer(default_root_dir=root, max_epochs=1, async_save=async_save, **SHORT)
    trainer.fit(Logs())
    rows = memory.cat("/root/metrics.csv")
    assert memory.find("/root") == [
        f"/root/{name}" for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "metrics.csv")
    ]
    trainer = lighter.Trainer(default_root_dir=root, max_epochs=2, **SHORT)
    trainer.fit(Logs(), ckpt_path=f"{ROOT}/checkpoints/last.ckpt")
    assert trainer.global_step == 6
    assert memory.cat("/root/metrics.csv") == rows  # the second has a file of its own
    assert list(own_place.iterdir()) == []


def test_checkpoints_and_logs_by_themselves(memory: Any, own_place: Path) -> None:
    callback = ModelCheckpoint("memory://checkpoints", every_n_train_steps=1, save_top_k=1, save_last=True)
    lighter.Trainer(callbacks=[callback], logger=CSVLogger("memory://logs"), max_epochs=1, **SHORT).fit(Logs())
    assert sorted(memory.ls("/checkpoints", detail=False)) == [
        "/checkpoints/epoch=0-step=3.ckpt",
        "/checkpoints/last.ckpt",
    ]
    assert memory.find("/logs") == ["/logs/lightning_logs/version_0/metrics.csv"]
    assert list(own_place.iterdir()) == []


class Stops(Logs):
    def on_train_batch_end(self, *_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_stop_saves_there(memory: Any, own_place: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        lighter.Trainer(default_root_dir=ROOT, max_epochs=1, **SHORT).fit(Stops())
    assert caught.value.code == 143
    assert memory.exists("/root/checkpoints/last.ckpt")
    assert list(own_place.iterdir()) == []


def test_a_storage_of_a_disk_is_the_disk(own_place: Path) -> None:
    lighter.Trainer(default_root_dir=f"file://{own_place}/a", max_epochs=1, **SHORT).fit(Logs())
    assert sorted(path.name for path in own_place.rglob("*.*")) == ["best.ckpt", "last.ckpt", "metrics.csv"]
    assert (own_place / "a/metrics.csv").is_file()


def test_a_run_whose_trainer_saves_elsewhere(memory: Any, config: dict[str, Any], own_place: Path) -> None:
    config["trainer"] |= {**QUIET, "default_root_dir": ROOT}
    lighter.Runner().run("fit", [config])
    assert memory.exists("/root/checkpoints/last.ckpt")
    lighter.Runner().run("test", [config], ckpt_path=f"{ROOT}/checkpoints/last.ckpt", verbose=False)
    with pytest.raises(CheckpointError, match=r"there is no checkpoint memory://root/none.ckpt"):
        lighter.Runner().run("test", [config], ckpt_path=f"{ROOT}/none.ckpt")
    with pytest.raises(CheckpointError, match=r"nope://a/b.ckpt cannot be reached: .*Protocol not known: nope"):
        lighter.Runner().run("test", [config], ckpt_path="nope://a/b.ckpt")
    assert [path.name for path in own_place.iterdir()] == ["outputs"]


def test_what_has_to_be_on_a_disk_says_so(memory: Any, config: dict[str, Any], own_place: Path) -> None:
    with pytest.raises(ConfigError, match=r"run::dir: runs have their folders on a disk; memory://runs is in another"):
        lighter.Runner().run("fit", [config, "run::dir=memory://runs"])
    with pytest.raises(ConfigError, match=r"`ckpt_path` is a file on a disk, not memory://a.ckpt: download it"):
        lighter.Runner().run("fit", [config, "model::ckpt_path=memory://a.ckpt"])
    with pytest.raises(ModuleValueError, match=r"CsvWriter writes to a disk; `path` is memory://a.csv"):
        CsvWriter("memory://a.csv", keys=["index"])
    trainer = lighter.Trainer(
        default_root_dir=ROOT, callbacks=[CsvWriter("a.csv", keys=["index"])], logger=False, **QUIET
    )
    with pytest.raises(
        PredictionError, match=r"a.csv is to be on a disk, and .* is memory://root: give .* an absolute"
    ):
        trainer.predict(Predictor(), loader())
    with pytest.raises(ModuleValueError, match=r"nope://root/metrics.csv cannot be opened: Protocol not known: nope"):
        lighter.Trainer(default_root_dir="nope://root", **QUIET)
    assert [path.name for path in own_place.iterdir() if path.name != "outputs"] == []


@pytest.mark.parametrize("words", [["runs", "list", "--dir"], ["export", "weights", "last", "--output"]])
def test_options_that_are_on_a_disk(words: list[str]) -> None:
    done = CliRunner().invoke(cli, [*words, "s3://bucket/a"])
    assert done.exit_code == 2
    assert "this is read and written on a disk; s3://bucket/a is in another storage" in " ".join(done.output.split())
