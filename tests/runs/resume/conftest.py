"""A job that the tests of this folder stop and resume."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def job(config: dict[str, Any]) -> dict[str, Any]:
    """Three epochs of ten steps; step values at every third."""
    config["trainer"] |= {"max_epochs": 3, "log_every_n_steps": 3}
    return config
