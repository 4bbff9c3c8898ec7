"""Check the losses and gradients of a fit's steps.

A loss and the flag of its gradients stay on the device. The host reads them at each step where that costs nothing (on
the CPU) or where each step is decided on (`skip`), and else a table of them at the logging interval.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from typing import TYPE_CHECKING

import torch
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from lighter._lightning.closures import logging_interval
from lighter.errors import NonFiniteError
from lighter.parts.allocation import unfilled_memory
from lighter.trainer.nonfinite.agreement import agreed_error, stop_together
from lighter.trainer.nonfinite.report import Finding, Moment, moment_of, of_gradients, of_loss, of_table
from lighter.trainer.nonfinite.tensors import first_nonfinite_weight, gradients_of, mark

if TYPE_CHECKING:
    from lighter.trainer import Trainer

log = logging.getLogger("lighter.runs")

WHOLE = (SingleDeviceStrategy, DDPStrategy)  # every process has all gradients, and the same


class StepCheck:
    """Stop the fit, or leave out the optimizer's step, at a NaN or Inf.

    Several processes decide by what they share, the gradients after their exchange: a loss that is not finite makes
    those of all processes so. What does not get there, or is a scaler's to judge, they agree on at the interval.

    With `reads_each` the host reads each step, before the optimizer's; else a table at the logging interval. With
    `skips` it leaves out steps; else it stops. The `exempt` weights were NaN or Inf when the fit began.
    """

    def __init__(self, trainer: Trainer, exempt: Collection[str], *, reads_each: bool, skips: bool) -> None:
        self.trainer, self._exempt, self._reads_each, self._skips = trainer, exempt, reads_each, skips
        self._alone = trainer.world_size == 1
        self._is_whole = type(trainer.strategy) in WHOLE
        self._scales = getattr(trainer.precision_plugin, "scaler", None) is not None
        rows, device = logging_interval(trainer), trainer.strategy.root_device
        widest = torch.float32 if device.type == "mps" else torch.float64  # a large loss of 64 bits is not infinite
        self._table = torch.zeros(rows, dtype=widest, device=device), torch.zeros(rows, device=device)
        self._losses, self._flags = (column.unbind() for column in self._table)
        self._one = torch.ones((), device=device)
        self._row, self._moments = 0, list[Moment]()  # of the table
        self._loss: Finding | None = None  # of the batches whose gradients add up
        self._gradient: Finding | None = None  # before hooks and clipping had them
        self._buffers = _Buffers(trainer.lightning_module) if skips else None
        self.left_out = 0  # steps

    def begin(self) -> None:
        """Begin the first of the batches whose gradients add up."""
        if self._buffers is not None:
            self._buffers.remember()

    def loss(self, loss: Tensor, output: object, batch: object) -> Tensor:
        """Check a loss before it is back-propagated; `output` is the training step's.

        Returns:
            the loss to back-propagate: the same, bit for bit, if it is finite.

        Raises:
            NonFiniteError: it is NaN or Inf, or one that was read only now, and the fit is to stop.
        """
        self._note(loss, output, batch)
        if self._loss is None and self._alone:
            return loss
        if self._loss is not None and torch.is_anomaly_enabled():  # which names the operation in the backward pass
            return loss
        if self._alone and not self._skips:
            raise NonFiniteError(str(self._loss))
        # a part of the loss that no weight knows of would leave the gradients finite, and the others uninformed
        return loss * (1 + 0 * _total(loss)).to(loss.dtype)

    def returned(self, loss: Tensor | None, output: object, batch: object) -> None:
        """Check a loss of manual optimization, whose steps are over; None if there is none."""
        if not self._skips:
            self._note(loss if loss is not None else self._one, output, batch)
            if self._loss is not None and self._alone:
                raise NonFiniteError(str(self._loss))

    def _note(self, loss: Tensor, output: object, batch: object) -> None:
        self._make_room()
        self._row += 1
        if not self._reads_each:
            self._losses[len(self._moments)].copy_(_total(loss))
            self._moments.append(moment_of(self.trainer))
        elif self._loss is None and not _is_finite(loss):
            self._loss = of_loss(loss.detach(), output, batch, self._exempt, self.trainer)

    def _make_room(self) -> None:
        # in all processes at the same batch, as they agree
        if self._row == len(self._losses) and not self._skips:
            stop_together(self.trainer, self.pending())

    def note_gradients(self, optimizer: Optimizer, batch: object) -> None:
        # before hooks and clipping change them: clipping makes all of them `nan`
        if self._reads_each and self._loss is None and self._has_nonfinite_gradient(optimizer):
            self._gradient = of_gradients(optimizer, batch, self._exempt, self.trainer)

    def gradients(self, optimizer: Optimizer, batch: object) -> None:
        """Check the gradients, just before the optimizer's step.

        Raises:
            NonFiniteError: something is NaN or Inf, and the fit is to stop.
        """
        if not self._reads_each:
            if not self._scales:  # a scaler judges the gradients itself
                batch_has_loss = self.trainer.lightning_module.automatic_optimization
                if not batch_has_loss:
                    self._make_room()
                mark(gradients_of(optimizer), self._flags[self._row - batch_has_loss], self._one)
            return
        bad = self._has_nonfinite_gradient(optimizer)
        if not self._alone and not self._is_whole:
            bad = self.trainer.strategy.reduce_boolean_decision(bad or self._loss is not None, all=False)
        if bad or (self._loss is not None and (self._alone or self._skips)):
            self._act(optimizer, batch, bad=bad)
        self._gradient = None

    def _has_nonfinite_gradient(self, optimizer: Optimizer) -> bool:
        if self._scales:
            return False
        mark(gradients_of(optimizer), self._flags[0], self._one)
        if not self._flags[0].item():
            return False
        self._flags[0].zero_()
        return True

    def _act(self, optimizer: Optimizer, batch: object, *, bad: bool) -> None:
        finding = self._loss or self._gradient or of_gradients(optimizer, batch, self._exempt, self.trainer)
        if not self._skips or finding.is_hopeless:
            raise agreed_error(self.trainer, finding)
        is_loss_here, self._loss = self._loss is not None, None
        if not bad and not self._alone and not self._scales:  # it did not get to the gradients: nothing to leave out
            return
        if not self._scales:  # a scaler leaves the step out itself, and has to see why
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
        if self._buffers is not None:
            self._buffers.restore()
        self.left_out += 1
        # at every power of two: a fit that leaves out each step must not fill the disk
        if (self.trainer.is_global_zero or is_loss_here) and self.left_out & (self.left_out - 1) == 0:
            later = f" ({self.left_out} so far; the next message comes at {2 * self.left_out})"
            rows = "; ".join(f"{name}: {text}" for name, text in finding.rows.items())
            total = later if self.left_out > 1 else ""
            log.warning("%s: the optimizer's step is left out%s. %s", finding.headline, total, rows)

    def pending(self) -> Finding | None:
        """Take the first finding that was not acted on yet out of the table, which is empty afterwards."""
        moments, self._moments, self._row = self._moments, [], 0
        if self._reads_each:
            return None if self._skips else self._loss
        losses, flags = torch.stack([column.to(self._table[0]) for column in self._table]).tolist()
        for moment, loss, flag in zip(moments, losses, flags, strict=False):
            if not math.isfinite(loss) or flag:
                self._table[1].zero_()
                weight = first_nonfinite_weight(self.trainer.lightning_module, self._exempt)
                gradients = "not finite" if flag else "finite"
                return of_table(moment, loss, gradients, weight, len(losses), self.trainer)
        return None


def _total(loss: Tensor) -> Tensor:
    # a module's own `backward` may take several
    loss = loss.detach()
    return loss.reshape(()) if loss.numel() == 1 else loss.sum()


def _is_finite(loss: Tensor) -> bool:
    # most losses are one number, which needs none of the views above
    return math.isfinite(loss.item() if loss.numel() == 1 else _total(loss).item())


class _Buffers:
    """The buffers of a module as they were before batches that are left out: running means, say."""

    def __init__(self, module: nn.Module) -> None:
        self._parts = [part._buffers for part in module.modules()]  # also those without: a step may register one
        self._kept: list[tuple[dict[str, Tensor | None], str, Tensor | None, Tensor | None]] = []

    @unfilled_memory()
    def remember(self) -> None:
        self._kept = [
            (part, name, buffer, None if buffer is None else _copy_of(buffer))
            for part in self._parts
            for name, buffer in part.items()
            if buffer is None or not is_lazy(buffer)
        ]

    @unfilled_memory()
    @torch.no_grad()
    def restore(self) -> None:
        for part, name, buffer, copy in self._kept:
            part[name] = _put_back(buffer, copy)


def _copy_of(buffer: Tensor) -> Tensor:
    try:
        return buffer.detach().clone()
    except NotImplementedError:  # of 4 bits, say: no step calculates with it either
        return buffer


def _put_back(buffer: Tensor | None, copy: Tensor | None) -> Tensor | None:
    # in place where possible, as others may refer to it too
    if buffer is None or copy is None or copy is buffer:
        return buffer
    try:
        return (buffer if buffer.shape == copy.shape else buffer.resize_(copy.shape)).copy_(copy)
    except RuntimeError:  # expanded, or made in inference mode: it cannot be written to
        return copy.clone()
