"""NaN and Inf handling of a trainer's fits: at each step, at the end of each epoch and before each save."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_lightning import LightningModule
from pytorch_lightning.trainer.states import TrainerStatus

from lighter._lightning.closures import searches_learning_rate
from lighter.trainer.nonfinite.agreement import stop_together
from lighter.trainer.nonfinite.report import of_weight
from lighter.trainer.nonfinite.steps import StepCheck
from lighter.trainer.nonfinite.tensors import first_nonfinite_weight, nonfinite_weights

if TYPE_CHECKING:
    from lighter.trainer import Trainer

log = logging.getLogger("lighter.runs")


class FiniteCheck:
    """Check a trainer's fits for NaN and Inf, by its `on_non_finite`."""

    steps: StepCheck | None = None  # of the epoch; None if they are not checked

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._policy: str = trainer.on_non_finite
        self._module: LightningModule | None = None
        self._exempt: Collection[str] = ()
        self._has_begun = False

    def begin_epoch(self) -> None:
        # not at setup: what is NaN or Inf when the first epoch begins is the user's choice
        trainer = self._trainer
        if self._has_begun or trainer.barebones or searches_learning_rate(trainer.callbacks):
            return
        self._has_begun = True
        self._module, self._exempt = trainer.lightning_module, nonfinite_weights(trainer.lightning_module)
        if self._policy != "continue":
            skips = self._policy == "skip"
            reads_each = skips or reads_cost_nothing(trainer)
            self.steps = StepCheck(trainer, self._exempt, reads_each=reads_each, skips=skips)

    def end_epoch(self) -> None:
        """Check everything that was not checked yet, and the weights.

        Raises:
            NonFiniteError: something is NaN or Inf.
        """
        if self.steps is not None:
            self._check_all("")

    def end_fit(self) -> None:
        # the module stays known, as it may be saved after the fit
        if self.steps is not None and self.steps.left_out:
            log.info("on_non_finite=skip: %d steps of the optimizer were left out", self.steps.left_out)
        self.steps, self._has_begun = None, False

    def allows_saving(self, path: str | Path) -> bool:
        """Return whether a checkpoint may be written. A collective operation.

        Raises:
            NonFiniteError: weights are NaN or Inf, and a fit runs that can be stopped.
        """
        trainer, module = self._trainer, self._module
        if module is None or module is not trainer.lightning_module:
            return True  # no fit of it was checked
        if self._policy != "continue" and trainer.state.status != TrainerStatus.INTERRUPTED:
            self._check_all(f"The checkpoint {path} is not written.\n\n")
            return True
        weight = first_nonfinite_weight(module, self._exempt)
        if weight is None:
            return True
        does = "is written all the same" if self._policy == "continue" else "is not written, and earlier ones stay"
        if trainer.is_global_zero:
            log.warning("the checkpoint %s %s: the weight %s", path, does, weight)
        return self._policy == "continue"

    def _check_all(self, prefix: str) -> None:
        finding = self.steps.pending() if self.steps is not None else None
        if finding is None and self._module is not None:
            weight = first_nonfinite_weight(self._module, self._exempt)
            finding = of_weight(weight, self._trainer) if weight is not None else None
        stop_together(self._trainer, finding, prefix)


def reads_cost_nothing(trainer: Trainer) -> bool:
    # on other devices, reading a number waits for the device
    return trainer.strategy.root_device.type == "cpu"
