"""The validation that is tried before a fit: unlogged monitors, and metrics that Lightning's trainer does not reset."""

from __future__ import annotations

import logging
from contextlib import ExitStack

import pytorch_lightning as pl
from pytorch_lightning import Callback, LightningModule

from lighter.base import BaseModule
from lighter.config.problems import nearest
from lighter.parts.metrics.state import metrics_in, unchanged
from lighter.trainer.checkpointing.defaults import BestCheckpoint

log = logging.getLogger("lighter")


class MonitorsInSanityCheck(Callback):
    """Warn of monitored values that the sanity check did not log: the fit would fail of them at the end of an epoch."""

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        # Of our modules the check of the config knows the names but for those of a user's metric that computes a dict,
        # say; of a plain module it knows none.
        if not isinstance(pl_module, BaseModule):
            return
        # In all processes, as values may have to be exchanged.
        logged = [name for name in trainer.callback_metrics if name.startswith("val/")]
        watchers = (*trainer.callbacks, *trainer.lr_scheduler_configs)  # type: ignore[attr-defined]
        # `BestCheckpoint` saves only if it finds its monitor
        monitors = [getattr(one, "monitor", None) for one in watchers if not isinstance(one, BestCheckpoint)]
        for name in dict.fromkeys(name for name in monitors if isinstance(name, str)):
            if name.startswith("val/") and name not in logged and trainer.is_global_zero:
                log.warning("the sanity check logged no `%s`, which is monitored. %s", name, nearest(name, logged))


class MetricsAfterSanityCheck(Callback):
    """Restore the module's metrics after it, as `lighter.Trainer` does: some keep the best value through all resets."""

    def __init__(self) -> None:
        self._before = ExitStack()

    def on_sanity_check_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        # This comes before the callbacks of the user.
        self._before.enter_context(unchanged(metrics_in(pl_module)))

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self._before.close()
