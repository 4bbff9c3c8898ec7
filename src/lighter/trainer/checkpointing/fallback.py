"""Choose the newest good checkpoint where one is damaged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from lighter.errors import CheckpointError, DamagedCheckpointError

log = logging.getLogger("lighter.runs")

Check = Callable[[str], object]
"""Raises a `DamagedCheckpointError` for a checkpoint that is damaged."""


def beside(path: Path) -> list[Path]:
    """List the other checkpoints in a file's folder, the newest first."""
    dated = []
    for other in path.parent.glob("*.ckpt"):
        with suppress(OSError):  # a link to nothing, or a file that a running fit has just deleted
            dated.append((other.stat().st_mtime_ns, other))
    return [other for _, other in sorted(dated, reverse=True) if other != path]


def first_good(paths: Iterable[Path], check: Check) -> Path | None:
    """Return the first that is not damaged; warn of those before it."""
    is_replaced = False
    for path in paths:
        try:
            check(str(path))
        except DamagedCheckpointError as error:
            log.warning("%s. It is passed over", error)
            is_replaced = True
        else:
            if is_replaced:
                log.warning("%s is taken in its place, the newest that is good", path)
            return path
    return None


def refuse_damaged(path: str, check: Check) -> None:
    """Check a checkpoint that was asked for by its path.

    Raises:
        DamagedCheckpointError: it is damaged; the message names the newest good one beside it.
    """
    try:
        check(path)
    except DamagedCheckpointError as error:
        good = next((other for other in beside(Path(path)) if _is_good(other, check)), None)
        hint = f"The newest good one beside it is {good}" if good is not None else "There is no good one beside it"
        raise DamagedCheckpointError(f"{error}. {hint}") from error


# any error of ours: of another file, it does not matter why it cannot be used
def _is_good(path: Path, check: Check) -> bool:
    try:
        check(str(path))
    except CheckpointError:
        return False
    return path.exists()
