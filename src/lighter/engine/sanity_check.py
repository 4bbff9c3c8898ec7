"""The validation that Lightning's own trainer tries before a fit leaves no trace in metrics, as with `lighter.Trainer`.

Some metrics keep the best value of all, whatever resets them.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from pytorch_lightning import Callback

from lighter.parts.metric_state import metrics_in, unchanged


class MetricsAfterSanityCheck(Callback):
    """Puts back what the module's metrics were before it."""

    def __init__(self) -> None:
        self._before = ExitStack()

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """Remember them; this comes before the callbacks of the user."""
        self._before.enter_context(unchanged(metrics_in(pl_module)))

    def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
        """All values of it are computed."""
        self._before.close()
