"""The validation that is tried before a fit: what it tells of monitors, and how Lightning's own trainer forgets it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from pytorch_lightning import Callback

from lighter.base import BaseModule
from lighter.config.problems import nearest
from lighter.parts.metrics.state import metrics_in, unchanged
from lighter.trainer.checkpointing.defaults import BestCheckpoint

log = logging.getLogger("lighter")


class MonitorsInSanityCheck(Callback):
    """Says which monitored values it did not log: the fit would fail of them at the end of the first epoch.

    They are those whose names the config does not tell, of a user's metric that computes a dict, say.
    """

    def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
        """Ask in all processes, as values may have to be exchanged."""
        if not isinstance(pl_module, BaseModule):
            return
        logged = [name for name in trainer.callback_metrics if name.startswith("val/")]
        for name in dict.fromkeys(_monitors(trainer)):
            if name.startswith("val/") and name not in logged and trainer.is_global_zero:
                log.warning("the sanity check logged no `%s`, which is monitored. %s", name, nearest(name, logged))


def _monitors(trainer: Any) -> Iterator[str]:
    for watcher in (*trainer.callbacks, *trainer.lr_scheduler_configs):
        monitor = getattr(watcher, "monitor", None)
        if isinstance(monitor, str) and not isinstance(watcher, BestCheckpoint):  # which saves if it finds its monitor
            yield monitor


class MetricsAfterSanityCheck(Callback):
    """Puts back what the module's metrics were before it, as `lighter.Trainer` does.

    Some metrics keep the best value of all, whatever resets them.
    """

    def __init__(self) -> None:
        self._before = ExitStack()

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """Remember them; this comes before the callbacks of the user."""
        self._before.enter_context(unchanged(metrics_in(pl_module)))

    def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
        """All values of it are computed."""
        self._before.close()
