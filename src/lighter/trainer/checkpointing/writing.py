"""Write a checkpoint to a file that is there whole or not at all, whatever kills the process or the disk does.

It is written under another name in the same folder, synced, and renamed; then the folder is synced. The bytes go from
the tensors to the file, without a copy of them all.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch
from torch.utils.serialization import config as serialization

from lighter.files.atomic import sync_folder
from lighter.files.manifest import append_manifest
from lighter.files.partials import partial_of
from lighter.trainer.checkpointing.manifest import describe
from lighter.trainer.checkpointing.weights_only import refused

_BUFFER = 1 << 20  # bytes; torch writes each tensor in four pieces, most of them small


def write(checkpoint: Any, path: Path) -> list[str]:
    """Save a checkpoint in a file that has its name only when all of it is on the disk.

    It touches nothing but the file, and may be called from any thread; not twice at once for the same file.

    Returns:
        what in it `weights_only=True` refuses; best nothing.

    Raises:
        OSError: it cannot be written. A file that had the name before is still there, and nothing else is left.
    """
    _make_folder(path.parent)
    partial = partial_of(path)
    try:
        with open(partial, "w+b", buffering=_BUFFER) as file:
            _save(checkpoint, file)
            append_manifest(file, describe(checkpoint, file.tell(), path.parent))
            file.flush()
            os.fsync(file.fileno())
        found = refused(partial)
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return found


def _make_folder(folder: Path) -> None:
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_folder(each.parent)


def _save(checkpoint: Any, file: IO[bytes]) -> None:
    stream: Any = _Stream(file)
    try:
        # the file is verified by its checksums, which a user may have switched off
        with serialization.patch("save.compute_crc32", True):  # type: ignore[attr-defined]
            torch.save(checkpoint, stream)
    except Exception:
        if stream.error is not None:
            raise stream.error from None
        raise


class _Stream:
    """A file that keeps the error of a write: torch makes a `RuntimeError` about positions of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: BaseException | None = None

    def write(self, data: memoryview) -> int:
        try:
            return self._file.write(data)
        except BaseException as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Do nothing: the end of the file is still to come."""
