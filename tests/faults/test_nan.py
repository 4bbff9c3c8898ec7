from __future__ import annotations

import logging

import pytest

from tests.faults.inject_nan import run


@pytest.mark.faults
def test_numbers_that_are_not_finite() -> None:
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lighter")]
    levels = [logger.level for logger in loggers]
    results = run(True)
    for logger, level in zip(loggers, levels, strict=True):  # the script is quiet
        logger.setLevel(level)
    assert not results.broken
    assert all(row.tried for row in results.rows.values())
