"""Signals where no trainer runs: what is raised, who has the handlers, what the second one does."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lighter import Runner, signals
from lighter.signals import Stopped, stop_signals


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


def test_a_run_is_interrupted_and_has_not_failed(config: dict[str, Any], own_place: Path) -> None:
    config["model"]["network"] = {"_target_": "tests.test_signals.swallows"}
    with pytest.raises(Stopped):
        Runner().run("fit", [config])
    [run] = own_place.glob("outputs/*/*/run.json")
    facts = json.loads(run.read_text())
    assert (facts["status"], facts["signal"]) == ("interrupted", "SIGTERM")
    assert signals.current() is None
