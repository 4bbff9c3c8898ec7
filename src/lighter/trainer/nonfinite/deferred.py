"""A step is looked at on its device, and read at the logging interval: the host never waits for a step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lighter.trainer.nonfinite.agreement import stop_together
from lighter.trainer.nonfinite.report import Finding, Place, of_table, place_in
from lighter.trainer.nonfinite.tensors import first_spoiled_weight, gradients_of, mark


class Later:
    """Keeps the loss of each batch and whether its gradients are finite, in a table on the device.

    When the table is full, at the logging interval, it is read in one transfer, and says which batch was the first.
    """

    def __init__(self, trainer: Any, exempt: Any) -> None:
        self.trainer, self._exempt = trainer, exempt
        self._alone = trainer.world_size == 1
        self._scales = getattr(trainer.precision_plugin, "scaler", None) is not None
        rows, device = trainer.log_every_n_steps or 50, trainer.strategy.root_device
        widest = torch.float32 if device.type == "mps" else torch.float64  # a loss of 64 bits is to be as finite here
        self._table = torch.zeros(rows, dtype=widest, device=device), torch.zeros(rows, device=device)
        self._one = torch.ones((), device=device)
        self._losses, self._flags = (column.unbind() for column in self._table)
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

    def returned(self, loss: Tensor | None, output: Any, batch: Any) -> None:
        """Keep a loss of manual optimization, whose steps are over; None if there is none."""
        self._keep(loss if loss is not None else self._one)

    def _keep(self, loss: Tensor) -> Tensor:
        self._make_room()
        value = loss.detach()
        value = value.reshape(()) if value.numel() == 1 else value.sum()
        self._losses[len(self._places)].copy_(value)
        self._places.append(place_in(self.trainer))
        return value

    def _make_room(self) -> None:
        if len(self._places) == len(self._losses):
            stop_together(self.trainer, self.pending())

    def note_gradients(self, optimizer: Any, batch: Any) -> None:
        """Nothing: which parameter was the first is not known afterwards."""

    def gradients(self, optimizer: Any, batch: Any) -> None:
        """Look at the gradients, just before the optimizer's step; without waiting for what is seen."""
        if self._scales:
            return
        batch_has_loss = self.trainer.lightning_module.automatic_optimization
        if not batch_has_loss:
            self._make_room()
        mark(gradients_of(optimizer), self._flags[len(self._places) - batch_has_loss], self._one)

    def pending(self) -> Finding | None:
        """Read the table: the first that is not finite. It is empty afterwards."""
        losses, flags = torch.stack([column.to(self._table[0]) for column in self._table]).tolist()
        places, self._places = self._places, []
        for place, loss, flag in zip(places, losses, flags, strict=False):
            if not math.isfinite(loss) or flag:
                self._table[1].zero_()
                weight = first_spoiled_weight(self.trainer.lightning_module, self._exempt)
                gradients = "not finite" if flag else "finite"
                return of_table(place, loss, gradients, weight, len(losses), self.trainer)
        return None
