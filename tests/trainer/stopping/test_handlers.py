"""Handlers of the user's, of Lightning's and of SLURM's beside those that stop a fit."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from lightning_fabric.plugins.environments import SLURMEnvironment

from lighter import Runner
from lighter.processes import signals
from lighter.processes.signals import Stopped
from tests.trainer.stopping.jobs import Sends, fit, trainer


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
    config["trainer"]["callbacks"] = [{"_target_": "tests.trainer.stopping.test_handlers.SendsEarly"}]
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
