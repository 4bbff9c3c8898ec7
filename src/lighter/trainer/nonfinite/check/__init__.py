"""Numbers that are not finite: looked for at each step, at the end of each epoch and before each save."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import torch
from pytorch_lightning.trainer.states import TrainerStatus
from pytorch_lightning.tuner.lr_finder import _LRCallback  # private, and the only sign of a search that is to diverge

from lighter.trainer.nonfinite.agreement import stop_together
from lighter.trainer.nonfinite.deferred import Later
from lighter.trainer.nonfinite.eager import AtOnce
from lighter.trainer.nonfinite.report import of_weight
from lighter.trainer.nonfinite.tensors import first_spoiled_weight, spoiled_weights

log = logging.getLogger("lighter.runs")


class FiniteCheck:
    """Looks for numbers that are not finite in the fits of a trainer.

    Attributes:
        steps: what looks at the steps of the epoch that runs; None if nothing does.
    """

    steps: AtOnce | Later | None = None

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._policy: str = trainer.on_non_finite
        self._module: Any = None
        self._exempt: Collection[str] = ()
        self._has_begun = False

    def begin_epoch(self) -> None:
        """Begin a fit, if this is its first epoch: what is not finite by now is the user's choice."""
        trainer = self._trainer
        if self._has_begun or trainer.barebones:
            return
        if any(isinstance(callback, _LRCallback) for callback in trainer.callbacks):
            return
        self._has_begun = True
        self._module, self._exempt = trainer.lightning_module, spoiled_weights(trainer.lightning_module)
        if self._policy == "skip" or (self._policy == "stop" and reads_cost_nothing(trainer)):
            self.steps = AtOnce(trainer, self._exempt, skips=self._policy == "skip")
        elif self._policy == "stop":
            self.steps = Later(trainer, self._exempt)

    def end_epoch(self) -> None:
        """Look at all that was not looked at yet, and at the weights.

        Raises:
            NonFiniteError: something is not finite.
        """
        if self.steps is not None:
            self._look_at_all("")

    def end_fit(self) -> None:
        """The fit is over; its module stays known, and may be saved."""
        if self.steps is not None and self.steps.left_out:
            log.info("on_non_finite=skip: %d steps of the optimizer were left out", self.steps.left_out)
        self.steps, self._has_begun = None, False

    def allows_saving(self, path: Any) -> bool:
        """Whether a checkpoint may be written. All processes ask.

        Raises:
            NonFiniteError: its weights are not finite, and a fit runs that can be stopped.
        """
        trainer = self._trainer
        if self._module is None or self._module is not trainer.lightning_module:
            return True  # nothing was trained that anybody looked at
        if self._policy != "continue" and trainer.state.status != TrainerStatus.INTERRUPTED:
            self._look_at_all(f"The checkpoint {path} is not written.\n\n")
            return True
        weight = first_spoiled_weight(self._module, self._exempt)
        if weight is None:
            return True
        does = "is written all the same" if self._policy == "continue" else "is not written, and earlier ones stay"
        if trainer.is_global_zero:
            log.warning("the checkpoint %s %s: the weight %s", path, does, weight)
        return self._policy == "continue"

    def _look_at_all(self, prefix: str) -> None:
        finding = self.steps.pending() if self.steps is not None else None
        if finding is None:
            weight = first_spoiled_weight(self._module, self._exempt)
            finding = of_weight(weight, self._trainer) if weight is not None else None
        stop_together(self._trainer, finding, prefix)


def reads_cost_nothing(trainer: Any) -> bool:
    """Whether the host can read a number without waiting for a device."""
    device: torch.device = trainer.strategy.root_device
    return device.type == "cpu"
