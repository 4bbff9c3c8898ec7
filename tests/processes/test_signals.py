"""Signals where no trainer runs: what is raised, who has the handlers, what the second one does."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lighter import Runner
from lighter.cli import main
from lighter.processes import signals
from lighter.processes.signals import Stopped, stop_signals
from tests.forks import exit_code, fork


def swallows(name: str = "SIGTERM") -> None:
    """As C code that imports a module does: the signal is lost, and another error comes of it."""
    with suppress(BaseException):
        signal.raise_signal(signal.Signals[name])
    raise ImportError("half imported")


def test_what_comes_of_a_swallowed_stop_is_the_stop() -> None:
    with pytest.raises(Stopped) as stopped, stop_signals(), stop_signals():
        swallows()
    assert stopped.value.code == 128 + signal.SIGTERM
    assert isinstance(stopped.value.__cause__, ImportError)
    with pytest.raises(KeyboardInterrupt), stop_signals():
        swallows("SIGINT")


def test_a_failure_after_a_stop_that_was_only_noted_stays_one() -> None:
    with pytest.raises(ImportError), stop_signals() as caught, caught.deferred(lambda: True):
        swallows()


def test_no_thread_and_no_file_is_left_while_a_forked_process_lives() -> None:
    files = len(os.listdir("/dev/fd"))
    with stop_signals():
        assert "lighter-signals" in {thread.name for thread in threading.enumerate()}
        child = fork(lambda: time.sleep(60))
    left = {thread.name for thread in threading.enumerate()}, len(os.listdir("/dev/fd"))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert "lighter-signals" not in left[0]
    assert left[1] == files


def test_a_run_is_interrupted_and_has_not_failed(config: dict[str, Any], own_place: Path) -> None:
    config["model"]["network"] = {"_target_": "tests.processes.test_signals.swallows"}
    with pytest.raises(Stopped):
        Runner().run("fit", [config])
    [run] = own_place.glob("outputs/*/*/run.json")
    facts = json.loads(run.read_text())
    assert (facts["status"], facts["signal"]) == ("interrupted", "SIGTERM")
    assert signals.current() is None


def test_both_threads_hear_the_second_signal_and_one_of_them_ends_the_process(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def stops_twice() -> None:
        signals.ONE_REQUEST = 0.05
        with stop_signals() as caught, caught.deferred(lambda: True):
            caught.last_words.append(lambda: time.sleep(0.3))
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.2)
            signal.raise_signal(signal.SIGINT)
            time.sleep(60)

    assert exit_code(fork(stops_twice)) == 130
    assert capfd.readouterr().err.count("Ctrl-C again: ending now.") == 1


def test_no_dead_worker_interrupts_the_last_words(own_place: Path) -> None:
    def torchs(*_: Any) -> None:
        raise RuntimeError("DataLoader worker is killed")

    def last_words() -> None:
        signal.raise_signal(signal.SIGCHLD)
        Path("record").touch()

    def stops_twice() -> None:
        signals.ONE_REQUEST = 0.0
        signal.signal(signal.SIGCHLD, torchs)
        with stop_signals() as caught, caught.deferred(lambda: True):
            caught.last_words.append(last_words)
            caught._watcher, watcher = None, caught._watcher  # what a main thread does that nobody precedes
            assert watcher is not None
            watcher.end()
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    assert exit_code(fork(stops_twice)) == 143
    assert Path("record").exists()


@pytest.mark.parametrize(("sent", "said"), [("SIGINT", "Ctrl-C"), ("SIGTERM", "SIGTERM")])
@pytest.mark.parametrize("words", [["check"], ["check", "--probe"], ["summary"], ["fit"]])
def test_every_command_ends_with_the_signals_code(
    words: list[str],
    sent: str,
    said: str,
    own_place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    name = f"sends_{words[-1].strip('-')}_{sent.lower()}"
    send = f"import signal\n\nsignal.raise_signal(signal.{sent})\n"
    (own_place / f"{name}.py").write_text(send)
    (own_place / "c.yaml").write_text(f"model: {{_target_: {name}.Net}}\n")
    monkeypatch.syspath_prepend(own_place)
    monkeypatch.setattr(sys, "argv", ["lighter", *words, "c.yaml"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 128 + signal.Signals[sent]
    assert capfd.readouterr().err == f"\n{said}: stopping.\n"
