"""What holds before the first member starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lighter.engine import experiment
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
