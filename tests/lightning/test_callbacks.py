"""Lightning's callbacks, each as an entry of `trainer::callbacks`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lightning.compare import equal, with_lighter
from tests.lightning.rungs import RUNGS, experiment

MODULE = "model: {_target_: tests.lightning.jobs.%s}"


def callbacks(*entries: str) -> str:
    """`callbacks:` with Lightning's callbacks, each written as its class and its arguments."""
    return "callbacks: [" + ", ".join(f"{{_target_: pytorch_lightning.callbacks.{entry}}}" for entry in entries) + "]"


def test_early_stopping(both):
    ours, _ = both(f"""
    {MODULE % "Validated"}
    trainer:
      max_epochs: 9
      {callbacks("EarlyStopping, monitor: val_loss, patience: 1, min_delta: 1.0")}
    """)
    assert ours.trainer.current_epoch == 2  # the first is better than nothing, the second no better
    assert ours.trainer.should_stop


def test_model_checkpoint(both):
    ours, plain = both(f"""
    {MODULE % "Validated"}
    trainer:
      enable_checkpointing: true
      max_epochs: 3
      {callbacks("ModelCheckpoint, monitor: val_loss, save_top_k: 2, save_last: true, filename: 'e{epoch}'")}
    """)
    ours, plain = ours.trainer.checkpoint_callback, plain.trainer.checkpoint_callback
    assert [Path(path).name for path in ours.best_k_models] == [Path(path).name for path in plain.best_k_models]
    assert equal([*ours.best_k_models.values()], [*plain.best_k_models.values()])
    assert Path(ours.last_model_path).name == "last.ckpt"


def test_learning_rate_monitor(both):
    ours, _ = both(f"""
    {MODULE % "OneCycle"}
    trainer: {{{callbacks("LearningRateMonitor, logging_interval: step")}}}
    """)
    rates = [value for _, value in ours.column("lr-SGD")]
    assert len(rates) == 12
    assert max(rates) == pytest.approx(0.1, rel=0.01)


@pytest.mark.filterwarnings("ignore:.*Found an existing SWA")
def test_stochastic_weight_averaging(both):
    ours, _ = both(f"""
    {MODULE % "Validated"}
    trainer:
      max_epochs: 4
      {callbacks("StochasticWeightAveraging, swa_lrs: 0.01, swa_epoch_start: 2")}
    """)
    usual, _ = both(MODULE % "Validated" + "\ntrainer: {max_epochs: 4}")
    assert not equal(ours.weights, usual.weights)


def test_the_rich_progress_bar(both, capsys):
    both(f"""
    {MODULE % "Validated"}
    trainer: {{enable_progress_bar: true, {callbacks("RichProgressBar, leave: true")}}}
    """)
    shown = capsys.readouterr().out
    assert shown.count("Epoch 1/1") >= 2  # ours and plain Lightning's
    assert "train_loss" not in shown  # logged without `prog_bar`


def test_several_callbacks_and_one_of_the_users(both):
    ours, _ = both(f"""
    {MODULE % "Validated"}
    trainer:
      callbacks:
        - {{_target_: tests.lightning.jobs.NotesEpochs}}
        - {{_target_: pytorch_lightning.callbacks.Timer, duration: "00:01:00:00"}}
        - {{_target_: pytorch_lightning.callbacks.GradientAccumulationScheduler, scheduling: {{1: 2}}}}
    """)
    assert ours.events == ["fit", 0, 1]
    assert ours.trainer.global_step == 6 + 3


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if rung != "plain"])
def test_callbacks_find_the_values_of_every_rung(rung, trainer):
    name = "val/loss/total/epoch" if rung == "forward" else "val/loss/epoch"
    stop = callbacks(
        f"EarlyStopping, monitor: {name}, patience: 1, min_delta: 1.0",
        f"ModelCheckpoint, monitor: {name}, filename: best",
        "LearningRateMonitor",
    )
    ours = with_lighter(experiment(rung, f"trainer:\n  enable_checkpointing: true\n  max_epochs: 9\n  {stop}", trainer))
    assert ours.trainer.current_epoch == 2
    assert (ours.folder / "checkpoints" / "best.ckpt").is_file()
    assert {value for _, value in ours.column("lr-SGD")} == {0.05}
