"""Stop all processes with the message of the one where a NaN or Inf began."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import distributed

from lighter.errors import NonFiniteError
from lighter.trainer.nonfinite.report import Finding

if TYPE_CHECKING:
    from lighter.trainer import Trainer

_BYTES = 4096
# a process whose gradients are not exchanged is the only one here, and must not wait for ever
_PATIENCE = timedelta(seconds=20)


def stop_together(trainer: Trainer, finding: Finding | None, prefix: str = "") -> None:
    """Stop if any process has a finding. A collective operation.

    Raises:
        NonFiniteError: one has.
    """
    is_found = finding is not None
    if trainer.world_size > 1:
        is_found = trainer.strategy.reduce_boolean_decision(is_found, all=False)
    if is_found:
        raise agreed_error(trainer, finding, prefix)


def agreed_error(trainer: Trainer, finding: Finding | None, prefix: str = "") -> NonFiniteError:
    """Make the error to stop with, where all processes are about to: with the finding of the one where it began."""
    text = str(finding) if finding is not None else ""
    if trainer.world_size > 1 and distributed.is_available() and distributed.is_initialized():
        text = _first_cause(trainer, text, is_cause=finding is not None and finding.is_cause)
    return NonFiniteError(f"{prefix}{text or 'Another process found a number that is not finite.'}")


def _first_cause(trainer: Trainer, text: str, *, is_cause: bool) -> str:
    # the first of a cause, or else this process's, or else any; this one's if nobody answers
    message = (("!" if is_cause else " ") + text).encode()[:_BYTES].ljust(_BYTES)
    tensor = torch.frombuffer(bytearray(message), dtype=torch.uint8).to(trainer.strategy.root_device)
    gathered = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
    try:
        distributed.all_gather(gathered, tensor, async_op=True).wait(_PATIENCE)
    except RuntimeError:
        return text
    texts = [bytes(one.cpu().tolist()).decode(errors="ignore").rstrip() for one in gathered]
    causes = [one[1:] for one in texts if one.startswith("!")]
    return next(iter([*causes, text, *(one.strip() for one in texts if one.strip())]), "")
