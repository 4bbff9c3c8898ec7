"""Hyperparameters, checkpoints, and going on from one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.lightning import jobs
from tests.lightning.compare import by_hand, config_of, equal, same, with_lighter

SAVED = """
model: {_target_: tests.lightning.jobs.Saved, lr: 0.02}
trainer: {enable_checkpointing: true, max_epochs: %d, callbacks: %s}
"""
CHECKPOINT = "[{_target_: pytorch_lightning.callbacks.ModelCheckpoint, monitor: val_loss, save_last: true}]"

pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed from")  # by hand, another folder


@pytest.fixture
def fitted(trainer):
    config = config_of(SAVED % (2, CHECKPOINT), trainer)
    return with_lighter(config), by_hand(config)


def last(run):
    return Path(run.trainer.checkpoint_callback.last_model_path)


def test_hyperparameters_come_back_from_a_checkpoint(fitted):
    for run in fitted:
        loaded = jobs.Saved.load_from_checkpoint(last(run), weights_only=True)
        assert (loaded.hparams.lr, loaded.lr, loaded.hparams.hidden) == (0.02, 0.02, 16)
        assert loaded.config is None  # the module's own argument, not what Lighter saved
        assert jobs.Saved.load_from_checkpoint(last(run), weights_only=True, lr=0.7).lr == 0.7
        assert equal(loaded.state_dict(), run.weights)


def test_a_checkpoint_has_what_lightning_puts_there_and_the_config(fitted):
    ours, plain = (torch.load(last(run), weights_only=True) for run in fitted)
    config = ours["hyper_parameters"].pop("lighter_config")  # `config` is an argument of the module's
    assert config["model"]["lr"] == 0.02
    for key in ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers", "hyper_parameters", "seen"):
        assert equal(ours[key], plain[key]), key
    assert ours.pop("lighter")["config"] == config
    assert ours.keys() == plain.keys()


def test_a_class_with_keyword_arguments_is_not_handed_the_config(trainer):
    config = config_of((SAVED % (1, CHECKPOINT)).replace("Saved,", "SavedWithKwargs, width: 3,"), trainer)
    path = last(with_lighter(config))
    assert jobs.SavedWithKwargs.load_from_checkpoint(path, weights_only=True).given == {"width": 3}


@pytest.mark.parametrize("word", ["last", "a path"])
def test_a_run_goes_on(trainer, word):
    """Epochs, optimizer, scheduler and the module's own state, as in plain Lightning from the same checkpoint."""
    callbacks = "[{_target_: pytorch_lightning.callbacks.ModelCheckpoint, save_last: true}]"
    model = SAVED.replace("Saved, lr: 0.02", "Scheduled")
    first = with_lighter(config_of(model % (2, callbacks), trainer))
    path = last(first)
    config = config_of(model % (4, callbacks), trainer)
    ours = with_lighter(config, ckpt_path="last" if word == "last" else str(path))
    plain = by_hand(config, ckpt_path=str(path), weights_only=True)
    same(ours, plain)
    assert (ours.trainer.current_epoch, ours.trainer.global_step) == (4, 24)
    assert ours.module.seen == 4 * 96
    assert [step for step, _ in ours.column("train_loss")] == list(range(12, 24))
    assert ours.trainer.lr_scheduler_configs[0].scheduler.last_epoch == 4
    assert "momentum_buffer" in ours.trainer.optimizers[0].state_dict()["state"][0]


def test_best_is_the_best(trainer):
    callbacks = """[{_target_: pytorch_lightning.callbacks.ModelCheckpoint, monitor: val_loss, filename: best}]"""
    config = config_of(SAVED % (3, callbacks), trainer)
    ours = with_lighter(config)
    validated = with_lighter(config, "validate", ckpt_path="best", verbose=False)
    plain = by_hand(config, "validate", ckpt_path=ours.trainer.checkpoint_callback.best_model_path, verbose=False)
    assert equal(validated.result, plain.result)
    # a checkpoint's score is the value of the pass of validation that it was saved after
    assert validated.values["val_loss"] == pytest.approx(float(ours.trainer.checkpoint_callback.best_model_score))
