"""The pytest plugin of `lightning_suite.py`: puts our Trainer into Lightning's package, and notes how tests end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytorch_lightning
import pytorch_lightning.trainer.trainer

import lighter.trainer

ENDS: dict[str, str] = {}


class Trainer(lighter.Trainer):
    """Our loops, and else Lightning: its defaults, its random streams, and losses that may be anything."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(exact_resume=False, on_non_finite="continue", **kwargs)


def pytest_configure() -> None:
    """Before tests are imported, which take the class by its name."""
    if os.environ["LIGHTNING_SUITE_TRAINER"] != "ours":
        return
    lighter.trainer._with_defaults = dict
    for package in (pytorch_lightning, pytorch_lightning.trainer, pytorch_lightning.trainer.trainer):
        package.Trainer = Trainer


def pytest_runtest_logreport(report: Any) -> None:
    """Called after setup, test and teardown."""
    if report.when == "call" or report.outcome != "passed":
        last = str(report.longrepr).strip().splitlines()[-1:] if report.outcome == "failed" else []
        ENDS.setdefault(report.nodeid, ": ".join([report.outcome, *last]))


def pytest_sessionfinish() -> None:
    """At the end, however it ended."""
    Path(os.environ["LIGHTNING_SUITE_REPORT"]).write_text(json.dumps(ENDS))
