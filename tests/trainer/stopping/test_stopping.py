"""Signals in one process: where a trainer stops, what it saves and what it raises."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import lighter
from lighter import Runner
from lighter.cli.stage import run_stage
from lighter.errors import WorkerError
from lighter.processes import signals
from lighter.processes.signals import Stopped
from lighter.trainer.stopping.dataloader_workers import let_workers_stay
from lighter.trainer.stopping.graceful import Stopping
from tests.forks import exit_code, fork
from tests.jobs import loader

NAMES = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")


class Sends(pl.Callback):
    """Sends this process a signal, the first time that a hook is called at a batch or later."""

    def __init__(self, hook: str, name: str = "SIGTERM", batch: int = 0) -> None:
        self.name, self.batch, self.called, self.after = name, batch, 0, []
        setattr(self, hook, self.send)

    def send(self, trainer: Any, *_: Any, **__: Any) -> None:
        if self.called == self.batch:
            signal.raise_signal(signal.Signals[self.name])
        self.called += 1
        self.after.append(trainer.global_step)


class Module(pl.LightningModule):
    """Has all steps, and logs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(64, 10)

    def training_step(self, batch: Any) -> Any:
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        return self.net(batch[0])

    test_step = predict_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Whatever a test does, the handlers are as they were."""
    before = {signum: signal.getsignal(signum) for signum in signals.STOPS}
    yield
    after = {signum: signal.getsignal(signum) for signum in signals.STOPS}
    for signum, handler in before.items():
        signal.signal(signum, handler)
    assert after == before
    assert signals.current() is None
    assert signal.set_wakeup_fd(-1) == -1


def trainer(callbacks: Any, folder: Path | None = None, **options: Any) -> lighter.Trainer:
    options = {"accelerator": "cpu", "max_epochs": 2, "logger": False, "enable_model_summary": False, **options}
    return lighter.Trainer(default_root_dir=folder, callbacks=callbacks, **options)


def fit(trainer: Any) -> None:
    trainer.fit(Module(), loader(0, 128), loader(128, 192))


def expected(name: str) -> Any:
    return pytest.raises(KeyboardInterrupt if name == "SIGINT" else Stopped)


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


@pytest.fixture
def restored(handlers: None) -> Iterator[None]:
    """A test may leave a handler of its own."""
    before = {signum: signal.getsignal(signum) for signum in signals.STOPS}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


class Handles(pl.Callback):
    """Puts a handler in its place, from a hook on."""

    def __init__(self, hook: str, name: str, handler: Any) -> None:
        setattr(self, hook, lambda *_, **__: signal.signal(signal.Signals[name], handler))


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
@pytest.mark.parametrize("since", ["before", "setup", "on_fit_start", "on_train_start"])
def test_a_handler_of_the_users_stays_and_the_fit_goes_on(name: str, since: str, tmp_path: Path) -> None:
    heard: list[int] = []

    def mine(signum: int, _: Any) -> None:
        heard.append(signum)

    if since == "before":
        signal.signal(signal.Signals[name], mine)
    done = trainer([Handles(since, name, mine), Sends("on_train_batch_start", name, batch=1)], tmp_path)
    fit(done)
    assert done.global_step == 8
    assert heard == [signal.Signals[name]]
    assert signal.getsignal(signal.Signals[name]) is mine


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_what_is_ignored_stays_so(name: str, tmp_path: Path) -> None:
    signal.signal(signal.Signals[name], signal.SIG_IGN)
    done = trainer(Sends("on_train_batch_start", name), tmp_path)
    fit(done)
    assert done.global_step == 8
    assert signal.getsignal(signal.Signals[name]) == signal.SIG_IGN


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("package", ["lighter", "pytorch_lightning"])
def test_lightnings_own_handler_stops_as_sigterm_does(package: str, config: dict[str, Any], own_place: Path) -> None:
    """It is there with the user's for a moment, when the loops are about to begin."""
    config["trainer"] |= {"_target_": f"{package}.Trainer", "num_sanity_val_steps": 0}
    config["trainer"]["callbacks"] = [{"_target_": "tests.trainer.stopping.test_stopping.SendsEarly"}]
    signal.signal(signal.SIGTERM, lambda *_: None)
    with pytest.raises(Stopped) as stopped:
        Runner().run("fit", [config])
    assert stopped.value.code == 128 + signal.SIGTERM
    assert len([*own_place.rglob("last.ckpt")]) == 1


class SendsEarly(pl.Callback):
    """SIGTERM right after Lightning has put its handler in its place."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        connector = trainer._signal_connector
        register = connector.register_signal_handlers

        def send() -> None:
            register()
            signal.raise_signal(signal.SIGTERM)

        connector.register_signal_handlers = send


@pytest.mark.parametrize("hook", ["setup", "on_train_start"])
def test_ctrl_c_is_not_ignored_after_an_interrupt_of_the_users_own(hook: str, tmp_path: Path) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    callback = pl.Callback()
    setattr(callback, hook, interrupt)
    with pytest.raises(SystemExit):
        fit(trainer(callback, tmp_path))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("given", [True, False])
def test_slurms_signal_is_lightnings_where_the_user_asked_for_that(
    given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"JOB_ID": "7", "PROCID": "0", "LOCALID": "0", "NODEID": "0", "NTASKS": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_JOB_NAME", "job")
    requeued = tmp_path / "requeued"
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\necho $@ > {requeued}\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    plugins = [SLURMEnvironment(auto_requeue=True)] if given else []
    job = trainer(Sends("on_train_batch_start", "SIGUSR1"), tmp_path, plugins=plugins)
    if given:
        fit(job)
        assert requeued.read_text() == "requeue 7\n"
        assert job.global_step == 8
    else:
        with pytest.raises(Stopped) as stopped:
            fit(job)
        assert stopped.value.code == 128 + signal.SIGUSR1
        assert not requeued.exists()


def test_in_a_thread_it_runs_without_catching_anything(tmp_path: Path) -> None:
    job = trainer([], tmp_path)
    thread = threading.Thread(target=fit, args=[job])
    thread.start()
    thread.join()
    assert job.global_step == 8


def test_a_forked_process_ends_by_a_signal_as_any_other() -> None:
    with signals.stop_signals():
        assert exit_code(fork(lambda: signal.raise_signal(signal.SIGTERM))) == -signal.SIGTERM


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
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


def sending(stage: str, name: str) -> dict[str, Any]:
    hook = {"fit": "train", "validate": "validation"}.get(stage, stage)
    return {"_target_": "tests.trainer.stopping.test_stopping.Sends", "hook": f"on_{hook}_batch_start", "name": name,
            "batch": 2 if stage == "fit" else 0}  # fmt: skip


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


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.slow
def test_a_worker_that_is_only_starting_stays_too(method: str) -> None:
    for _ in range(5 if method == "fork" else 1):
        data = DataLoader(TensorDataset(torch.zeros(8)), num_workers=2, multiprocessing_context=method)
        theirs = data.multiprocessing_context
        with signals.stop_signals():
            let_workers_stay([data])
            batches = iter(data)
            for worker in batches._workers:  # type: ignore[attr-defined]
                os.kill(worker.pid, signal.SIGTERM)
            assert len(list(batches)) == 8
        assert data.multiprocessing_context.get_start_method() == theirs.get_start_method() == method


class Mortal(Dataset):
    """A worker that loads the tenth sample ends."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        if index == 10 and torch.utils.data.get_worker_info() is not None:
            if self.how == "exit":
                os._exit(3)
            os.kill(os.getpid(), signal.Signals[self.how])
        return torch.zeros(64), torch.tensor(index % 10)


# torch raises in a handler of signals, perhaps while it opens files to see whether there are too many
OPENED = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@OPENED
@pytest.mark.parametrize(
    ("stage", "how", "said"),
    [
        ("fit", "SIGKILL", "of the train dataloader (process {pid}) was ended by SIGKILL. Something outside killed it"),
        ("validate", "SIGBUS", "of the val dataloader (process {pid}) was ended by SIGBUS. Usually the shared memory"),
        ("test", "SIGSEGV", "of the test dataloader (process {pid}) was ended by SIGSEGV. Compiled code crashed"),
        ("predict", "exit", "of the predict dataloader (process {pid}) ended with exit code 3. With num_workers=0"),
    ],
)
def test_a_worker_that_died_is_named(stage: str, how: str, said: str, tmp_path: Path) -> None:
    data = DataLoader(Mortal(how), batch_size=4, num_workers=2)
    job = trainer([], tmp_path, num_sanity_val_steps=0)
    with pytest.raises(WorkerError) as died:
        getattr(job, stage)(Module(), *[data] * (2 if stage == "fit" else 1))
    before, _, after = said.partition("{pid}")
    assert str(died.value).startswith(f"Worker 0 of 2 {before}")
    assert after in str(died.value)
    assert data.worker_init_fn is None
    assert data.multiprocessing_context is None


@OPENED
def test_a_worker_of_a_validation_that_died_is_named(tmp_path: Path) -> None:
    data = [loader(0, 64), DataLoader(Mortal("SIGKILL"), batch_size=4, num_workers=2)]
    with pytest.raises(WorkerError, match="Worker 0 of 2 of the val dataloader 1"):
        trainer([], tmp_path, num_sanity_val_steps=-1).fit(Module(), loader(0, 64), data)


def test_a_death_told_while_another_error_leaves_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch raises its error in a signal handler, which may run in the context manager's own code."""

    @contextmanager
    def interrupted(self: Any) -> Iterator[None]:
        yield

    def leaves(self: Any, *_: Any) -> None:
        raise RuntimeError("DataLoader worker (pid 4711) is killed by signal: Killed.")

    monkeypatch.setattr(Stopping, "of_stage", interrupted)
    module = Module()
    module.on_train_start = MethodType(leaves, module)  # type: ignore[method-assign]
    with pytest.raises(WorkerError, match=r"A dataloader's worker \(process 4711\) died"):
        trainer([], tmp_path).fit(module, loader(0, 64), loader(0, 64))


def test_the_command_names_it_without_a_traceback(
    config: dict[str, Any], own_place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    dataset = {"_target_": "tests.trainer.stopping.test_stopping.Mortal", "how": "SIGKILL"}
    config["data"]["train_dataloader"] |= {"dataset": dataset, "num_workers": 2, "shuffle": False}
    assert run_stage("fit", [config], {}) == 1  # type: ignore[list-item]
    said = capfd.readouterr().err
    assert "A worker of a dataloader died.\n\nWorker 0 of 2 of the train dataloader" in said
    assert not re.search(r"^[\w.]*(Runtime|Worker)Error", said, re.MULTILINE)  # workers may have their own


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_dataloaders_that_fail_when_they_begin_fail_for_that(stage: str, tmp_path: Path) -> None:
    class Fails(IterableDataset):
        def __iter__(self) -> Any:
            raise OSError("of the user's")

    others = [loader(0, 64)] if stage == "fit" else []
    with pytest.raises(OSError, match="of the user's"):
        getattr(trainer([], tmp_path), stage)(Module(), DataLoader(Fails(), batch_size=4), *others)


def test_a_step_that_hangs_is_ended_by_the_second_signal(own_place: Path) -> None:
    """Deep in C, where no handler of Python's runs."""

    def hangs() -> None:
        signals.ONE_REQUEST = 0.05
        with signals.stop_signals():
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
            threading.Timer(0.6, os.kill, (os.getpid(), signal.SIGHUP)).start()
            with signals.current().deferred(lambda: True):  # type: ignore[union-attr]
                torch.ones(3000, 3000).matrix_power(2**40)

    assert exit_code(fork(hangs)) == 128 + signal.SIGHUP


def test_nothing_is_said_of_signals_that_did_not_come(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fit(trainer([], tmp_path))
    assert "stopp" not in caplog.text.replace("`Trainer.fit` stopped: `max_epochs=2` reached.", "")
