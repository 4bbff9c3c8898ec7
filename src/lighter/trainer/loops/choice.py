"""Choose the lean loop, or Lightning's own where something needs it: a value and its reason."""

from __future__ import annotations

import logging
from typing import NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy

from lighter._lightning.fetchers import DataFetcher, takes_iterator

STRATEGIES = (SingleDeviceStrategy, DDPStrategy)
PRECISIONS = (Precision, MixedPrecision, HalfPrecision, DoublePrecision)
_HOOK_LOG = logging.getLogger("pytorch_lightning.trainer.call")


class LoopChoice(NamedTuple):
    """The loop that runs the steps, and the reason."""

    # `lean`, or `lightning` for Lightning's own
    name: str
    # the feature that needs Lightning's own; empty for the lean loop
    reason: str

    @property
    def is_lean(self) -> bool:
        return self.name == "lean"


def choose_loop(trainer: pl.Trainer, fetcher: DataFetcher) -> LoopChoice:
    """Return which loop is to run the batches that a fetcher gives."""
    profiler, strategy = type(trainer.profiler), type(trainer.strategy)  # type: ignore[attr-defined]
    precision = type(trainer.precision_plugin)
    # the lean loop runs only what it was tested with: exact classes, as a subclass may override anything
    reasons = {
        f"{profiler.__name__} times every hook": profiler is not PassThroughProfiler,
        "Lightning logs every hook at the level DEBUG": _HOOK_LOG.isEnabledFor(logging.DEBUG),
        f"the strategy is {strategy.__name__}": strategy not in STRATEGIES,
        f"the precision is {precision.__name__}": precision not in PRECISIONS,
        "the step takes the iterator of batches": takes_iterator(fetcher),
    }
    reason = next((reason for reason, holds in reasons.items() if holds), "")
    return LoopChoice("lightning" if reason else "lean", reason)
