from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from torch import nn

import lighter
from lighter.trainer import OWN_ARGUMENTS
from lighter.trainer.progress_line import ProgressLine
from tests.jobs import Classifier, PlainClassifier, loader, mlp


def test_it_takes_lightnings_arguments() -> None:
    ours, theirs = inspect.signature(lighter.Trainer), inspect.signature(pl.Trainer)
    assert list(ours.parameters) == [*OWN_ARGUMENTS, *theirs.parameters]
    with pytest.raises(ValueError, match="on_save_error is one of stop, continue, not 'go on'"):
        lighter.Trainer(on_save_error="go on")
    with pytest.raises(TypeError, match="unexpected keyword argument 'max_epoch'"):
        lighter.Trainer(max_epoch=3)


def test_defaults_in_a_run_folder(tmp_path: Path) -> None:
    trainer = lighter.Trainer(default_root_dir=tmp_path, accelerator="cpu")
    assert Path(trainer.logger.log_dir) == tmp_path
    assert [Path(callback.dirpath) for callback in trainer.checkpoint_callbacks] == [tmp_path / "checkpoints"] * 2
    assert trainer.progress_bar_callback is None  # nobody watches a test


def test_the_environments_arguments_come_before_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_LOGGER", "False")
    monkeypatch.setenv("PL_TRAINER_DEFAULT_ROOT_DIR", str(tmp_path))
    trainer = lighter.Trainer(accelerator="cpu")
    assert trainer.loggers == []
    assert Path(trainer.default_root_dir) == tmp_path
    assert lighter.Trainer(accelerator="cpu", logger=CSVLogger(tmp_path)).loggers


@pytest.mark.parametrize("name", OWN_ARGUMENTS)
def test_the_environment_has_our_own_arguments_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"on_non_finite": "skip", "on_save_error": "continue"}.get(name, str(name == "async_save"))
    monkeypatch.setenv(f"PL_TRAINER_{name.upper()}", value)
    assert str(getattr(lighter.Trainer(accelerator="cpu", logger=False), name)) == value
    monkeypatch.setenv(f"PL_TRAINER_{name.upper()}", "off")
    with pytest.raises(ValueError, match=f"{name} is .*, not 'off'"):
        lighter.Trainer(accelerator="cpu", logger=False)


def test_a_person_at_a_terminal_sees_rich(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    trainer = lighter.Trainer(default_root_dir=tmp_path, accelerator="cpu")
    assert isinstance(trainer.progress_bar_callback, RichProgressBar)
    monkeypatch.setenv("TERM", "dumb")  # it cannot draw over what it shows
    assert lighter.Trainer(default_root_dir=tmp_path, accelerator="cpu").progress_bar_callback is None


def test_the_bar_shows_as_many_losses_as_one_line_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("val/metrics/accuracy/epoch", "val/loss/epoch", "train/loss/epoch")
    trainer: Any = SimpleNamespace(loggers=[], progress_bar_metrics=dict.fromkeys(names, 0.5))
    shown = {}
    for columns in (60, 80, 120, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        shown[columns] = list(ProgressLine().get_metrics(trainer, pl.LightningModule()))
    losses = ["val/loss", "train/loss"]
    assert shown == {60: [], 80: losses[:1], 120: losses, 200: [*losses, "val/metrics/accuracy"]}


@pytest.mark.parametrize("kind", [RichProgressBar, TQDMProgressBar])
def test_a_bar_that_is_written_is_shown_in_a_pipe(kind: type, tmp_path: Path) -> None:
    bar = kind()
    trainer = lighter.Trainer(default_root_dir=tmp_path, callbacks=[bar])
    assert trainer.progress_bar_callback is bar
    assert lighter.Trainer(default_root_dir=tmp_path).progress_bar_callback is None


def test_what_the_user_gives_is_left_alone(tmp_path: Path) -> None:
    mine = ModelCheckpoint(tmp_path / "mine", save_last=True)
    trainer = lighter.Trainer(
        default_root_dir=tmp_path, logger=False, callbacks=mine, enable_progress_bar=False, accelerator="cpu"
    )
    assert trainer.checkpoint_callbacks == [mine]
    assert mine.dirpath == str(tmp_path / "mine")
    assert trainer.loggers == []


def test_another_runs_metrics_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("precious\n")
    trainer = lighter.Trainer(default_root_dir=tmp_path, accelerator="cpu", max_epochs=1, enable_model_summary=False)
    trainer.fit(PlainClassifier(), loader(0, 64), loader(64, 96))
    assert (tmp_path / "metrics.csv").read_text() == "precious\n"
    assert Path(trainer.logger.log_dir) == tmp_path / "lightning_logs" / "version_0"


def test_without_a_folder_it_is_lightnings(own_place: Path) -> None:
    trainer = lighter.Trainer(accelerator="cpu")
    assert isinstance(trainer.logger, CSVLogger)
    assert Path(trainer.logger.log_dir) == own_place / "lightning_logs" / "version_0"


def test_no_best_checkpoint_where_nothing_is_validated(tmp_path: Path) -> None:
    trainer = lighter.Trainer(
        default_root_dir=tmp_path, accelerator="cpu", max_epochs=1, enable_model_summary=False, log_every_n_steps=1
    )
    trainer.fit(PlainClassifier(), loader(0, 64), loader(64, 96))  # it logs `val/loss`, not `val/loss/epoch`
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


def test_barebones_stays_bare(tmp_path: Path) -> None:
    trainer = lighter.Trainer(default_root_dir=tmp_path, barebones=True, max_epochs=1, accelerator="cpu")
    assert trainer.loggers == []
    module = classifier()
    trainer.fit(module, loader(0, 64), loader(64, 96))
    assert trainer.callback_metrics == {}


def classifier() -> Classifier:
    return Classifier(mlp(), nn.CrossEntropyLoss(), optimizer=lambda params: torch.optim.SGD(params, lr=0.1))


def test_the_best_checkpoint_of_several_losses_goes_by_their_total(tmp_path: Path) -> None:
    class TwoLosses(Classifier):
        def validation_step(self, batch, batch_idx):
            loss = self.criterion(self(batch[0]), batch[1])
            return {"loss": {"total": loss, "ce": loss}}

    module = TwoLosses(mlp(), nn.CrossEntropyLoss(), optimizer=lambda params: torch.optim.SGD(params, lr=0.1))
    trainer = lighter.Trainer(
        default_root_dir=tmp_path, accelerator="cpu", max_epochs=1, enable_model_summary=False, log_every_n_steps=1
    )
    trainer.fit(module, loader(0, 64), loader(64, 96))
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
