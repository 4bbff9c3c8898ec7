"""Which loop runs: the lean one, or Lightning's own where something needs it; a value and its reason."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import pytorch_lightning
from pytorch_lightning.loops.fetchers import _DataLoaderIterDataFetcher  # the only sign that a step takes the iterator
from pytorch_lightning.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy

STRATEGIES = (SingleDeviceStrategy, DDPStrategy)
PRECISIONS = (Precision, MixedPrecision, HalfPrecision, DoublePrecision)
WRITTEN_FOR = "2.6."
_HOOK_LOG = logging.getLogger("pytorch_lightning.trainer.call")


class LoopChoice(NamedTuple):
    """Which loop runs the steps, and why.

    Attributes:
        name: `lean`, or `lightning` for Lightning's own.
        reason: what needs Lightning's own; empty for the lean loop.
    """

    name: str
    reason: str

    @property
    def is_lean(self) -> bool:
        """Whether it is the lean loop."""
        return self.name == "lean"


def choose_loop(trainer: Any, fetcher: Any) -> LoopChoice:
    """Which loop is to run the batches that a fetcher gives.

    Only what the lean loop is known to do as Lightning does: strategies and precisions that it was not tested with
    are Lightning's, subclasses of the known ones included, as they may override anything.
    """
    version: str = pytorch_lightning.__version__  # type: ignore[attr-defined]
    strategy, precision = type(trainer.strategy), type(trainer.precision_plugin)
    reasons = {
        f"Lightning is {version}, and the lean loop is written for {WRITTEN_FOR}x": (
            not version.startswith(WRITTEN_FOR)
        ),
        f"{type(trainer.profiler).__name__} times every hook": type(trainer.profiler) is not PassThroughProfiler,
        "Lightning logs every hook at the level DEBUG": _HOOK_LOG.isEnabledFor(logging.DEBUG),
        f"the strategy is {strategy.__name__}": strategy not in STRATEGIES,
        f"the precision is {precision.__name__}": precision not in PRECISIONS,
        "the step takes the iterator of batches": isinstance(fetcher, _DataLoaderIterDataFetcher),
    }
    reason = next((reason for reason, holds in reasons.items() if holds), "")
    return LoopChoice("lightning" if reason else "lean", reason)
