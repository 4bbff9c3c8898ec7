"""What holds before the first member starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lighter import Runner
from lighter.config.problems import Problem
from lighter.engine import experiment
from lighter.errors import ConfigError
from lighter.experiments.folder import ExperimentFolder


def test_a_stop_while_the_config_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that an earlier coordinator has left is void; one that comes during the check is not."""
    folder, seen = ExperimentFolder(tmp_path), []
    folder.config.write_text("seed: 1\n")
    folder.stop.touch()

    def checked(inputs: Any) -> tuple[None, None, None]:
        seen.append(folder.stop.exists())
        folder.stop.touch()
        return None, None, None

    monkeypatch.setattr(experiment, "checked_experiment", checked)
    for name in ("read", "_refuse_changes", "frozen", "write_config"):
        monkeypatch.setattr(experiment, name, lambda *_: None)
    monkeypatch.setattr(experiment, "_run", lambda *_: seen.append(folder.stop.exists()))
    experiment.resume(tmp_path, tmp_path)
    assert seen == [False, True]


def test_an_option_that_there_is_not() -> None:
    with pytest.raises(TypeError, match=r"an experiment has no option `workerz`. Did you mean `workers`?"):
        Runner().experiment("digits.yaml", workerz=2)


def test_changes_may_be_one_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "resume", lambda *arguments: arguments)
    assert Runner().resume_experiment("it", "experiment::seeds=4", "runs") == (
        "it",
        Path("runs"),
        ["experiment::seeds=4"],
    )


def test_an_option_that_is_none_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def checked(words: list[Any]) -> None:
        seen.extend(words)
        raise ConfigError([Problem("enough")])

    monkeypatch.setattr(experiment, "checked_experiment", checked)
    with pytest.raises(ConfigError):
        Runner().experiment("digits.yaml", seeds=None, trials=3)
    assert seen == ["digits.yaml", "experiment::search::trials=3"]
