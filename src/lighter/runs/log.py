"""The log of a run in its folder: the messages of Lightning and of Python's logging, and warnings."""

from __future__ import annotations

import logging
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TextIO

from lighter.processes.ranks import is_rank_zero
from lighter.runs.secrets import Secrets

# with those of Lightning's, as some of them do not propagate to the root logger
_LOGGERS = (
    "",
    "lighter",
    "pytorch_lightning",
    "lightning.pytorch",
    "lightning.fabric",
    "lightning_fabric",
    "py.warnings",
)
_NOISE = (
    "The dirpath has changed from",  # every run has a folder of its own
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 on torch 2.13: nothing a user can change
)
_ADVERTISING = (
    "pytorch_lightning.utilities.rank_zero",
    "lightning.pytorch.utilities.rank_zero",
    "lightning_fabric.utilities.rank_zero",
)


@contextmanager
def logging_to(path: Path | None, secrets: Secrets | None = None) -> Iterator[None]:
    """Keep a log in a file for a while, and leave out Lightning's advertisements. Then all handlers are removed."""
    loggers: list[logging.Logger] = []
    handler: logging.Handler = logging.NullHandler()
    if path is not None:
        handler = _File(path, encoding="utf-8", delay=True)
        handler.setFormatter(_Formatter(secrets or Secrets()))
        # the messages of those that propagate reach the root logger
        loggers = [one for one in map(logging.getLogger, _LOGGERS) if one is logging.root or not one.propagate]
    # an object of its own, as the end of a log within another one would take the other's filter away
    no_advertisement = _NoAdvertisement()
    for logger in loggers:
        logger.addHandler(handler)
    for name in _ADVERTISING:
        logging.getLogger(name).addFilter(no_advertisement)
    lighter = logging.getLogger("lighter")
    level = lighter.level
    lighter.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            for message in _NOISE:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        lighter.setLevel(level)
        for name in _ADVERTISING:
            logging.getLogger(name).removeFilter(no_advertisement)
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


@contextmanager
def messages_shown(stream: TextIO | None = None) -> Iterator[None]:
    """Show Lighter's messages for a while, on stderr or another stream."""
    handler = logging.StreamHandler(stream)
    # Of several processes, those of the first.
    first = is_rank_zero()
    # failures are shown by the caller; a message from before there is a run's log is repeated in it, and shown once
    loggers = ("lighter.check", "lighter.runs")
    handler.addFilter(lambda record: first and not hasattr(record, "shown"))
    handler.addFilter(lambda record: record.levelno in (logging.INFO, logging.WARNING) or record.name in loggers)
    # With a handler at the root, Lightning installs none, so that its messages are in the log of the run alone: which
    # devices there are, which argument ended the fit. Warnings of all libraries are shown.
    others = logging.StreamHandler(stream)
    others.setLevel(logging.WARNING)
    others.addFilter(lambda record: first and record.name.partition(".")[0] != "lighter")
    logging.root.addHandler(others)
    logger = logging.getLogger("lighter")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(others)
        logger.removeHandler(handler)
        logger.setLevel(level)


def messages_in_notebook() -> AbstractContextManager[None]:
    """Show the messages below a cell, unless the notebook's user has set up logging."""
    logger = logging.getLogger("lighter")
    is_set_up = logger.hasHandlers() and logger.isEnabledFor(logging.INFO)
    # not on stderr, which notebooks show in red
    return nullcontext() if is_set_up else messages_shown(sys.stdout)


class _NoAdvertisement(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("💡 Tip")


class _File(logging.FileHandler):
    # A failure is said once, where Python would show a traceback for each line.
    _is_told = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # the first line opens the file, outside of what Python guards
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  Python's name for it
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._is_told:
            self._is_told = True
            print(f"{self.baseFilename} cannot be written: {error.strerror or error}", file=sys.stderr)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class _Formatter(logging.Formatter):
    def __init__(self, secrets: Secrets) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return self._secrets.text(super().format(record))


def duration(seconds: float | str | None) -> str:
    """Write a time as people read it: `1h 05m`, `2m 10s`, `3.2s`; nothing for what is no number."""
    if seconds is None or not math.isfinite(float(seconds)):
        return ""
    minutes, rest = divmod(float(seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {rest:02.0f}s" if minutes else f"{rest:.1f}s"
