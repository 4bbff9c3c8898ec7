"""A run's log where it cannot be written."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from lighter.runs.log import logging_to


@pytest.mark.parametrize("place", ["no-folder/run.log", "full"])
def test_that_a_log_cannot_be_written_is_told_once(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("full").symlink_to("/dev/full")
    with logging_to(Path(place)):
        for number in range(3):
            logging.getLogger("lighter").warning("line %d", number)
    reason = "No space left on device" if place == "full" else "No such file or directory"
    [told] = [line for line in capsys.readouterr().err.splitlines() if "run.log" in line or "full" in line]
    assert told == f"{Path(place).absolute()} cannot be written: {reason}"
