"""What one of several processes found, told to all of them before they stop."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from lighter.errors import NonFiniteError
from lighter.trainer.nonfinite.report import Finding

_BYTES = 4096
_PATIENCE = timedelta(seconds=20)


def stop_together(trainer: Any, finding: Finding | None, prefix: str = "") -> None:
    """Stop if any process has found something. All of them call this.

    Raises:
        NonFiniteError: one has.
    """
    found = finding is not None
    if trainer.world_size > 1:
        found = trainer.strategy.reduce_boolean_decision(found, all=False)
    if found:
        raise stop(trainer, finding, prefix)


def stop(trainer: Any, finding: Finding | None, prefix: str = "") -> NonFiniteError:
    """The error to stop with, where all processes are about to: with what was found by the one where it began."""
    own = str(finding) if finding is not None else ""
    text = own if trainer.world_size == 1 else _shared(trainer, own, is_cause=finding is not None and finding.is_cause)
    return NonFiniteError(f"{prefix}{text or 'Another process found a number that is not finite.'}")


def _shared(trainer: Any, own: str, *, is_cause: bool) -> str:
    """The first text of a process that has the cause, or else of any; the own one if the others do not answer."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return own
    mark = b"!" if is_cause else b" "
    message = (mark + own.encode())[:_BYTES].ljust(_BYTES)
    tensor = torch.frombuffer(bytearray(message), dtype=torch.uint8).to(trainer.strategy.root_device)
    gathered = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
    try:
        # a process whose gradients are its own affair is alone here, and must not wait for ever
        work = distributed.all_gather(gathered, tensor, async_op=True)
        work.wait(_PATIENCE)
    except RuntimeError:
        return own
    texts = [bytes(part.cpu().tolist()).decode(errors="ignore").rstrip() for part in gathered]
    causes = [text[1:] for text in texts if text.startswith("!")]
    return next(iter([*causes, own, *(text.strip() for text in texts if text.strip())]), "")
