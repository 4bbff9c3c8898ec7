"""The pytest plugin of `lightning_suite.py`: puts our Trainer into Lightning's package, and notes how tests end."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any

import pytorch_lightning
import pytorch_lightning.trainer.trainer

import lighter.trainer.full

REPORT = Path(os.environ["LIGHTNING_SUITE_REPORT"])  # the tests change the environment
EXACT_RESUME = os.environ["LIGHTNING_SUITE_EXACT_RESUME"] == "1"
DONE: set[str] = set()  # noted by a process that one of its tests ended


class Trainer(lighter.Trainer):
    """Our loops, and else Lightning: its defaults, and losses that may be anything."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(exact_resume=EXACT_RESUME, on_non_finite="continue", **kwargs)


Trainer.__init__.__signature__ = inspect.signature(pytorch_lightning.Trainer.__init__)  # type: ignore[attr-defined]


def note(test: str, end: str) -> None:
    """Write down how a test ended, at once."""
    with REPORT.open("a") as report:
        report.write(json.dumps([test, end]) + "\n")


def pytest_configure() -> None:
    """Before tests are imported, which take the class by its name."""
    if REPORT.exists():
        DONE.update(json.loads(line)[0] for line in REPORT.read_text().splitlines())
    if os.environ["LIGHTNING_SUITE_TRAINER"] != "ours":
        return
    lighter.trainer.full.with_defaults = lambda arguments, _: dict(arguments)
    for package in (pytorch_lightning, pytorch_lightning.trainer, pytorch_lightning.trainer.trainer):
        package.Trainer = Trainer


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Leave out what has ended."""
    items[:] = [item for item in items if item.nodeid not in DONE]


def pytest_collectreport(report: Any) -> None:
    """A file that cannot be imported counts as a test that fails."""
    if report.failed:
        note(report.nodeid, failure(report))


def pytest_runtest_logstart(nodeid: str) -> None:
    """What stays if the process does not get any further."""
    note(nodeid, "did not end")


def pytest_runtest_logreport(report: Any) -> None:
    """Called after setup, test and teardown."""
    if report.outcome == "failed":
        note(report.nodeid, failure(report))
    elif report.when == "call" or report.outcome == "skipped":
        note(report.nodeid, report.outcome)


def failure(report: Any) -> str:
    """The last line of what pytest says of it."""
    crash = getattr(report.longrepr, "reprcrash", None)
    message = crash.message if crash is not None else str(report.longrepr)
    return f"failed: {' '.join(message.split())[:300]}"
