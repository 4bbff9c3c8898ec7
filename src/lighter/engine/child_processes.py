"""Record that another process of a run failed, before Lightning kills this one.

Lightning's observer looks every five seconds for a process of another rank that ended with an error, and then sends
SIGKILL to all, this one too. A process that hangs, in a collective operation say, has no other moment to record it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl

from lighter._lightning.signals import child_processes
from lighter.errors import ProcessError
from lighter.runs.journal import Journal
from lighter.trainer.stopping.graceful import Stopping

log = logging.getLogger("lighter.runs")
# Between two looks; a hang is recorded unless the observer looks within the same moment.
_SECONDS = 0.1


@contextmanager
def failures_recorded(trainer: pl.Trainer, journal: Journal) -> Iterator[None]:
    """Watch the child processes while a trainer's method runs; one that ends by itself records its own error later."""
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(trainer, journal, over), name="lighter-children", daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


def _watch(trainer: pl.Trainer, journal: Journal, over: threading.Event) -> None:
    stopping: Stopping | None = getattr(trainer, "stopping", None)
    while not over.wait(_SECONDS):
        children = child_processes(trainer)
        failed = next((number for number, child in enumerate(children, 1) if child.poll()), None)
        if failed is None:
            continue
        if stopping is None or stopping.signum is None:
            told = stopping.failure() if stopping is not None else None
            code = children[failed - 1].returncode
            how = f"failed with exit code {code}: its own last lines say why"
            if code < 0:
                how = f"was killed by signal {-code}"
            error = ProcessError(told or f"process {failed} of {len(children) + 1} {how}")
            log.error("%s", error)
            journal.fail(error)
        return
