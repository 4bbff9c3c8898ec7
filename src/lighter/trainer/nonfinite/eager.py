"""A step is looked at while it is made: where numbers are the host's, or where each step is decided on."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor
from torch.nn.parameter import is_lazy

from lighter.errors import NonFiniteError
from lighter.parts.allocation import unfilled_memory
from lighter.trainer.nonfinite.agreement import stop, stop_together
from lighter.trainer.nonfinite.report import Finding, of_gradients, of_loss
from lighter.trainer.nonfinite.tensors import gradients_of, mark

log = logging.getLogger("lighter.runs")

WHOLE = (SingleDeviceStrategy, DDPStrategy)  # every process has all gradients, and the same


class AtOnce:
    """Stops before the optimizer's step, or leaves it out.

    Several processes decide by what they share, the gradients after their exchange. A loss that is not finite in one of
    them makes its gradients so, and by that everybody's. What does not get there, or is a scaler's to judge, is agreed
    on at the logging interval.

    Args:
        trainer: of the fit.
        exempt: the weights that were not finite when the fit began.
        skips: leave out steps; else, stop.
    """

    def __init__(self, trainer: Any, exempt: Collection[str], *, skips: bool) -> None:
        self.trainer, self._exempt, self._skips = trainer, exempt, skips
        self._alone = trainer.world_size == 1
        self._is_whole = type(trainer.strategy) in WHOLE
        self._scales = getattr(trainer.precision_plugin, "scaler", None) is not None
        device = trainer.strategy.root_device
        self._flag, self._one = torch.zeros((), device=device), torch.ones((), device=device)
        self._every, self._since = trainer.log_every_n_steps or 50, 0
        self._loss: Finding | None = None  # of the window of batches whose gradients add up
        self._gradient: Finding | None = None  # before hooks and clipping had them
        self._buffers = _Buffers(trainer.lightning_module) if skips else None
        self.left_out = 0

    def begin(self) -> None:
        """The first batch of a window is about to run."""
        if self._buffers is not None:
            self._buffers.remember()

    def loss(self, loss: Tensor, output: Any, batch: Any) -> Tensor:
        """Look at a loss, which is still to be back-propagated.

        Args:
            loss: what is to be back-propagated.
            output: what the training step returned.
            batch: what it was given.

        Returns:
            what is to be back-propagated instead.

        Raises:
            NonFiniteError: it is not finite, and nobody else has to know.
        """
        if _is_finite(loss):
            return loss
        self._note_loss(loss, output, batch)
        if torch.is_anomaly_enabled():  # which names the operation
            return loss
        if self._alone and not self._skips:
            raise NonFiniteError(str(self._loss))
        return loss * math.nan  # a part of it that no weight knows of would leave the gradients finite

    def returned(self, loss: Tensor | None, output: Any, batch: Any) -> None:
        """Look at a loss of manual optimization, whose steps are over; None if there is none."""
        if loss is not None and not self._skips and not _is_finite(loss):
            self._note_loss(loss, output, batch)
            if self._alone:
                raise NonFiniteError(str(self._loss))
        if not self._alone:
            self._count()

    def _note_loss(self, loss: Tensor, output: Any, batch: Any) -> None:
        if self._loss is None:
            self._loss = of_loss(loss.detach(), output, batch, self._exempt, self.trainer)

    def note_gradients(self, optimizer: Any, batch: Any) -> None:
        """Look at gradients that hooks and clipping are still to change: clipping makes all of them `nan`."""
        if not self._scales and self._loss is None and self._spoiled(optimizer):
            self._gradient = of_gradients(optimizer, batch, self._exempt, self.trainer)

    def gradients(self, optimizer: Any, batch: Any) -> None:
        """Look at the gradients, just before the optimizer's step.

        Raises:
            NonFiniteError: something is not finite, and the fit is to stop.
        """
        bad = not self._scales and self._spoiled(optimizer)
        if not self._alone and not self._is_whole:
            bad = self.trainer.strategy.reduce_boolean_decision(bad or self._loss is not None, all=False)
        if bad or (self._loss is not None and (self._alone or self._skips)):
            self._act(optimizer, batch, bad=bad)
        self._gradient = None
        if not self._alone:
            self._count()

    def _spoiled(self, optimizer: Any) -> bool:
        mark(gradients_of(optimizer), self._flag, self._one)
        if not self._flag.item():
            return False
        self._flag.zero_()
        return True

    def _act(self, optimizer: Any, batch: Any, *, bad: bool) -> None:
        finding = self._loss or self._gradient or of_gradients(optimizer, batch, self._exempt, self.trainer)
        if not self._skips or finding.is_hopeless:
            raise stop(self.trainer, finding)
        is_own, self._loss = self._loss is not None, None
        if not bad and not self._alone and not self._scales:  # it did not get to the gradients: no reason to leave out
            return
        if not self._scales:  # a scaler wants to see for itself
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
        assert self._buffers is not None
        self._buffers.restore()
        self.left_out += 1
        if (self.trainer.is_global_zero or is_own) and self.left_out & (self.left_out - 1) == 0:
            log.warning("%s", _left_out(finding, self.left_out))

    def pending(self) -> Finding | None:
        """What was found and not acted on yet."""
        return None if self._skips else self._loss

    def _count(self) -> None:
        """Let the processes agree, once an interval."""
        if self._skips:
            return
        self._since += 1
        if self._since >= self._every:
            self._since = 0
            stop_together(self.trainer, self._loss)


def _is_finite(loss: Tensor) -> bool:
    try:
        return math.isfinite(loss.item())
    except RuntimeError:  # several values, which a module's own `backward` may take
        return bool(torch.isfinite(loss).all())


def _left_out(finding: Finding, count: int) -> str:
    total = f" ({count} so far; the next message comes at {2 * count})" if count > 1 else ""
    rows = "; ".join(f"{name}: {text}" for name, text in finding.rows.items())
    return f"{finding.headline}: the optimizer's step is left out{total}. {rows}"


class _Kept(NamedTuple):
    """A buffer as it was."""

    part: dict[str, Tensor | None]
    name: str
    buffer: Tensor | None
    copy: Tensor | None


class _Buffers:
    """The buffers of a module as they were before batches that are left out: running means, say."""

    def __init__(self, module: Any) -> None:
        self._parts = [part._buffers for part in module.modules()]  # those without any, too: a step may register some
        self._seen: list[Any] = []
        self._kept: list[_Kept] = []

    @unfilled_memory()
    def remember(self) -> None:
        found = [(part, name, buffer) for part in self._parts if part for name, buffer in part.items()]
        found = [entry for entry in found if not is_lazy(entry[2])]
        seen = [(id(part), name, id(buffer), None if buffer is None else buffer.shape) for part, name, buffer in found]
        with torch.no_grad():
            if seen != self._seen:  # the first step; or one was assigned anew, registered or resized
                self._seen = seen
                self._kept = [_Kept(*entry, None if entry[2] is None else _copy_of(entry[2])) for entry in found]
                return
            for _, _, buffer, copy in self._kept:
                if buffer is not None and copy is not None:
                    copy.copy_(buffer)

    @unfilled_memory()
    def restore(self) -> None:
        with torch.no_grad():
            for part, name, buffer, copy in self._kept:
                part[name] = _put_back(buffer, copy)


def _copy_of(buffer: Tensor) -> Tensor:
    """A copy; the buffer itself if torch cannot copy its type, as it cannot calculate with it either."""
    try:
        return buffer.detach().clone()
    except NotImplementedError:
        return buffer


def _put_back(buffer: Tensor | None, copy: Tensor | None) -> Tensor | None:
    """A buffer with the values of its copy: the same tensor, as others may have it too."""
    if buffer is None or copy is None or copy is buffer:
        return buffer
    try:
        return (buffer if buffer.shape == copy.shape else buffer.resize_(copy.shape)).copy_(copy)
    except RuntimeError:  # it cannot be written to: it is expanded, or was made in inference mode
        return copy.clone()
