"""Signals in one process: where a trainer stops, what it saves and what it raises."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from lighter import Runner
from lighter.cli.stage import run_stage
from lighter.processes import signals
from lighter.processes.signals import Stopped
from tests.forks import exit_code, fork
from tests.jobs import loader
from tests.slow import mostly_slow
from tests.trainer.stopping.jobs import NAMES, Module, Sends, expected, fit, sending, trainer


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_it_stops_after_the_batch(stage: str, name: str, tmp_path: Path) -> None:
    hook = {"fit": "train", "validate": "validation"}.get(stage, stage)
    sends = Sends(f"on_{hook}_batch_start", name, batch=1)
    data = [loader(0, 128)] * (2 if stage == "fit" else 1)
    with expected(name) as stopped:
        getattr(trainer(sends, tmp_path), stage)(Module(), *data)
    assert sends.called == 2
    if name != "SIGINT":
        assert stopped.value.code == 128 + signal.Signals[name]
    saved = list(tmp_path.rglob("*.ckpt"))
    assert saved == ([tmp_path / "checkpoints" / "last.ckpt"] if stage == "fit" else [])


PLACES = {  # a hook, at which call of it, and the steps that are saved; None where there is nothing to save
    "setup": ("setup", 0, None),
    "the start": ("on_fit_start", 0, None),
    "the sanity check": ("on_sanity_check_start", 0, None),
    "a batch of it": ("on_validation_batch_start", 0, None),
    "training starts": ("on_train_start", 0, 1),
    "an epoch starts": ("on_train_epoch_start", 1, 5),
    "before the backward pass": ("on_before_backward", 1, 2),
    "after a batch": ("on_train_batch_end", 1, 2),
    "the last batch of an epoch": ("on_train_batch_start", 3, 4),
    "validation starts": ("on_validation_start", 1, 4),
    "a batch of a validation": ("on_validation_batch_start", 2, 4),
    "the last batch of a validation": ("on_validation_batch_end", 3, 4),
    "an epoch ends": ("on_train_epoch_end", 0, 4),
    "the last epoch ends": ("on_train_epoch_end", 1, 8),
    "training ends": ("on_train_end", 0, 8),
    "all is over": ("on_fit_end", 0, 8),
    "clearing away": ("teardown", 0, 8),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("loop", ["lean", "Lightning's"])
def test_wherever_a_signal_comes_a_fit_is_saved_between_two_batches(place: str, loop: str, tmp_path: Path) -> None:
    hook, call, steps = PLACES[place]
    profiler = {"profiler": "simple"} if loop != "lean" else {}
    with pytest.raises(Stopped):
        fit(trainer(Sends(hook, batch=call), tmp_path, **profiler))
    if steps is None:
        assert list(tmp_path.rglob("*.ckpt")) == []
        return
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    done = saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]
    assert saved["global_step"] == done["completed"] == done["ready"] == steps


def test_gradients_are_in_no_checkpoint_so_it_stops_after_the_optimizers_step(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit(trainer(Sends("on_train_batch_start"), tmp_path, accumulate_grad_batches=3))
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["completed"] == 3


def test_what_was_saved_goes_on(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit(trainer(Sends("on_train_batch_start", batch=5), tmp_path))
    again = trainer([], tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*before the epoch ended")
        again.fit(Module(), loader(0, 128), loader(128, 192), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert again.global_step == 8


SAVES = {
    "a ModelCheckpoint of the user's": ({"save_last": False}, {}, "checkpoints/last.ckpt"),
    "one that saves elsewhere": ({"dirpath": "mine", "save_top_k": 0}, {}, "checkpoints/last.ckpt"),
    "no checkpoints": (None, {"enable_checkpointing": False}, None),
    "fast_dev_run": (None, {"fast_dev_run": 3}, None),
    "barebones": (None, {"barebones": True}, None),
}


@pytest.mark.parametrize("case", SAVES)
def test_what_is_saved(case: str, own_place: Path, caplog: pytest.LogCaptureFixture) -> None:
    mine, options, saved = SAVES[case]
    callbacks = [Sends("on_train_batch_start"), *([] if mine is None else [ModelCheckpoint(**mine)])]
    with pytest.raises(Stopped):
        fit(trainer(callbacks, None if "barebones" in options else own_place, **options))
    assert [str(path.relative_to(own_place)) for path in own_place.rglob("*.ckpt")] == ([saved] if saved else [])
    said = f"saved {own_place / saved}" if saved else "nothing saved, as checkpoints are off"
    assert f"stopped by SIGTERM in epoch 1, after 1 steps{'; ' if saved else ': '}{said}" in caplog.text


def test_without_a_folder_it_saves_where_the_callbacks_do(own_place: Path) -> None:
    with pytest.raises(Stopped):
        fit(trainer([Sends("on_train_batch_start"), ModelCheckpoint("mine")]))
    assert [str(path.relative_to(own_place)) for path in own_place.rglob("*.ckpt")] == ["mine/last.ckpt"]


def test_what_last_links_to_stays_as_it_is(tmp_path: Path) -> None:
    mine = ModelCheckpoint(filename="{epoch}", save_last="link", save_top_k=-1)
    with pytest.raises(Stopped):
        fit(trainer([mine, Sends("on_train_batch_start", batch=5)], tmp_path))
    steps = {path.name: torch.load(path, weights_only=True)["global_step"] for path in tmp_path.rglob("*.ckpt")}
    assert steps == {"epoch=0.ckpt": 4, "last.ckpt": 6}


class FullDisk(pl.plugins.TorchCheckpointIO):
    def save_checkpoint(self, *_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")


def test_a_stop_that_cannot_save_says_so_and_ends_as_a_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Stopped):
        fit(trainer(Sends("on_train_batch_start"), tmp_path, plugins=[FullDisk()]))
    assert "after 1 steps. " in caplog.text
    assert "last.ckpt cannot be written: No space left on device" in caplog.text
    caplog.clear()
    with pytest.raises(Stopped):
        fit(trainer(Sends("on_train_batch_start"), tmp_path, plugins=[FullDisk()], on_save_error="continue"))
    assert "last.ckpt is not saved" in caplog.text


def test_a_failure_of_the_users_code_stays_one(tmp_path: Path) -> None:
    class Fails(Sends):
        def on_train_batch_end(self, *_: Any) -> None:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fit(trainer(Fails("on_train_batch_start"), tmp_path))


def test_in_a_thread_it_runs_without_catching_anything(tmp_path: Path) -> None:
    job = trainer([], tmp_path)
    thread = threading.Thread(target=fit, args=[job])
    thread.start()
    thread.join()
    assert job.global_step == 8


def test_a_forked_process_ends_by_a_signal_as_any_other() -> None:
    with signals.stop_signals():
        assert exit_code(fork(lambda: signal.raise_signal(signal.SIGTERM))) == -signal.SIGTERM


@pytest.mark.parametrize("stage", mostly_slow(["fit", "validate", "test", "predict"]))
@pytest.mark.parametrize("name", NAMES)
def test_lightnings_own_trainer_in_a_run(stage: str, name: str, config: dict[str, Any], own_place: Path) -> None:
    config["trainer"] |= {"_target_": "pytorch_lightning.Trainer", "callbacks": [sending(stage, name)]}
    with expected(name) as stopped:
        Runner().run(stage, [config])
    if name != "SIGINT":
        assert stopped.value.code == 128 + signal.Signals[name]
    [run] = own_place.glob("outputs/*/*/run.json")
    facts = json.loads(run.read_text())
    assert (facts["status"], facts["signal"]) == ("interrupted", name)
    if stage == "fit":
        saved = torch.load(run.parent / "checkpoints" / "last.ckpt", weights_only=True)
        assert saved["global_step"] == 3


def test_the_command_says_what_was_saved_and_how_to_go_on(
    config: dict[str, Any], own_place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config["trainer"]["callbacks"] = [sending("fit", "SIGINT")]
    assert run_stage("fit", [config], {}) == 130  # type: ignore[list-item]
    [run] = own_place.glob("outputs/*/*")
    shown = run.relative_to(own_place)
    said = capfd.readouterr().err
    assert "Ctrl-C: stopping after this step; a second signal ends the process at once." in said
    assert f"stopped by Ctrl-C in epoch 1, after 3 steps; saved {shown}/checkpoints/last.ckpt" in said
    assert f"to go on: lighter resume {shown}" in said
    assert "stopped by Ctrl-C" in (run / "run.log").read_text()


def test_a_step_that_hangs_is_ended_by_the_second_signal(own_place: Path) -> None:
    """Deep in C, where no handler of Python's runs."""

    def sends() -> None:
        signum = signal.SIGTERM
        while True:  # on a busy machine two may be heard at once, which are one request
            time.sleep(0.3)
            os.kill(os.getpid(), signum)
            signum = signal.SIGHUP

    def hangs() -> None:
        signals.ONE_REQUEST = 0.05
        with signals.stop_signals():
            threading.Thread(target=sends, daemon=True).start()
            with signals.current().deferred(lambda: True):  # type: ignore[union-attr]
                torch.ones(3000, 3000).matrix_power(2**40)

    assert exit_code(fork(hangs)) == 128 + signal.SIGHUP


def test_nothing_is_said_of_signals_that_did_not_come(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fit(trainer([], tmp_path))
    assert "stopp" not in caplog.text.replace("`Trainer.fit` stopped: `max_epochs=2` reached.", "")
