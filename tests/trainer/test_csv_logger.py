"""`metrics.csv` is what Lightning's logger writes, and stays whole where the disk is full."""

from __future__ import annotations

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger as LightningsLogger

from lighter.trainer.csv_logger import CSVLogger

ROWS = [{"a": 1.5}, {"a": 2.5}, {"b": 3.5, "a": 1e-9}, {"c/d": 'with "quotes", and commas'}, {"a": 4.0}]


def log(logger: Any, rows: list[dict[str, Any]], first: int = 0) -> None:
    for step, row in enumerate(rows, first):
        logger.log_metrics(row, step)
        logger.save()


@contextmanager
def full(size: int) -> Iterator[None]:
    """No file gets larger than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def content(folder: str = "ours") -> bytes:
    return Path(folder, "metrics.csv").read_bytes()


def test_the_bytes_are_those_of_lightnings() -> None:
    for kind, name in ((LightningsLogger, "theirs"), (CSVLogger, "ours")):
        logger = kind(name, name="", version="")
        log(logger, ROWS)
        logger.finalize("success")
    assert content("ours") == content("theirs")


@pytest.mark.parametrize("size", range(1, 45, 3))
def test_rows_wait_for_room_and_are_never_torn(size: int, caplog: pytest.LogCaptureFixture) -> None:
    logger, good = CSVLogger("ours", name="", version=""), CSVLogger("good", name="", version="")
    log(good, ROWS)
    with full(size):
        log(logger, ROWS[:4])
    if Path("ours/metrics.csv").exists():
        lines = content().decode().splitlines(keepends=True)
        assert len({line.count(",") for line in lines}) == 1
        assert all(line.endswith("\r\n") for line in lines)
    assert [path.name for path in Path("ours").iterdir() if path.name != "metrics.csv"] == []
    log(logger, ROWS[4:], first=4)
    assert content() == content("good")
    [told] = [record.getMessage() for record in caplog.records]
    assert told == (
        f"{Path('ours/metrics.csv')} cannot be written: File too large. Its rows are kept in memory and written when"
        " that is possible"
    )


def test_what_is_never_written_is_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    logger = CSVLogger("ours", name="", version="")
    log(logger, ROWS[:1])
    with full(len(content())), caplog.at_level(logging.WARNING):
        log(logger, ROWS[:3], first=1)
        logger.finalize("success")
    assert caplog.messages[-1] == f"{Path('ours/metrics.csv')} lacks its last 3 rows"
    assert content() == b"a,step\r\n1.5,0\r\n"
