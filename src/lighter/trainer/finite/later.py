"""A step is looked at on its device, and read at the logging interval: the host never waits for a step."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lighter.errors import NonFiniteError
from lighter.trainer.finite.at_once import stop_together
from lighter.trainer.finite.report import TAKEN, Finding, Place, of_weight, place_in
from lighter.trainer.finite.values import first_spoiled_weight, mark


class Later:
    """Keeps the loss of each batch and whether its gradients are finite, in a table on the device.

    When the table is full, at the logging interval, it is read in one transfer, and says which batch was the first.
    """

    def __init__(self, trainer: Any, exempt: Any) -> None:
        self.trainer, self._exempt = trainer, exempt
        self._alone = trainer.world_size == 1
        self._scales = getattr(trainer.precision_plugin, "scaler", None) is not None
        rows = trainer.log_every_n_steps or 50
        self._table = torch.zeros(2, rows, device=trainer.strategy.root_device)
        self._one = torch.ones((), device=self._table.device)
        self._losses, self._flags = self._table[0].unbind(), self._table[1].unbind()
        self._places: list[Place] = []
        self.left_out = 0

    def begin(self) -> None:
        """Nothing is remembered."""

    def loss(self, loss: Tensor, output: Any, batch: Any) -> Tensor:
        """Keep a loss. Returns what is to be back-propagated: the same, bit for bit, if it is finite.

        Raises:
            NonFiniteError: one of an earlier batch was not.
        """
        value = self._keep(loss)
        # to all processes, by way of the gradients
        return loss if self._alone else loss * (1 + 0 * value).to(loss.dtype)

    def returned(self, loss: Tensor, output: Any, batch: Any) -> None:
        """Keep a loss of manual optimization, whose steps are over."""
        self._keep(loss)

    def _keep(self, loss: Tensor) -> Tensor:
        if len(self._places) == len(self._losses):
            self.read()
        value = loss.detach()
        value = value.reshape(()) if value.numel() == 1 else value.sum()
        self._losses[len(self._places)].copy_(value)
        self._places.append(place_in(self.trainer))
        return value

    def note_gradients(self, optimizer: Any, batch: Any) -> None:
        """Nothing: which parameter was the first is not known afterwards."""

    def gradients(self, optimizer: Any, batch: Any) -> None:
        """Look at the gradients, just before the optimizer's step; without waiting for what is seen."""
        if self._scales or not self._places:
            return
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        mark(gradients, self._flags[len(self._places) - 1], self._one)

    def read(self) -> None:
        """Read the table.

        Raises:
            NonFiniteError: something in it is not finite.
        """
        finding = self.pending()
        if self._alone and finding is not None:
            raise NonFiniteError(str(finding))
        if not self._alone:
            stop_together(self.trainer, finding)

    def pending(self) -> Finding | None:
        """Read the table: the first that is not finite. It is empty afterwards."""
        losses, flags = self._table.tolist()
        places, self._places = self._places, []
        for place, loss, flag in zip(places, losses, flags, strict=False):
            if not math.isfinite(loss) or flag:
                self._table.zero_()
                return self._finding(place, loss, bool(flag))
        return None

    def _finding(self, place: Place, loss: float, flag: bool) -> Finding:
        weight = first_spoiled_weight(self.trainer.lightning_module, self._exempt)
        found = of_weight(weight, self.trainer)
        seen = "finite" if math.isfinite(loss) else str(loss)
        what = "a gradient is not finite" if math.isfinite(loss) else f"the loss is {loss}"
        rows = {
            **found.rows,
            "loss": seen,
            "gradients": "not finite" if flag else "finite",
            "weights": f"{weight}, by now" if weight is not None else "all finite",
            "found": f"in {found.place}: on a device, numbers are read every {len(self._losses)} batches",
        }
        return replace(found, what=what, place=place, rows=rows, outcome=TAKEN)
