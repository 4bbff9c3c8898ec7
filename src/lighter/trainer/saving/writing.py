"""A checkpoint to a file that is there whole or not at all, whatever kills the process and whatever the disk does.

It is written beside its place under another name, synced, and renamed; then the folder is synced. The bytes go from
the tensors to the file, through the hash, without a copy of them.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO, Any

import torch

from lighter.trainer.saving.manifest import END_SIZE, describe, seal


def write(checkpoint: Any, path: Path) -> None:
    """Save a checkpoint in a file that has its name only when all of it is on the disk.

    It touches nothing but the file, and may be called from any thread; not twice at once for the same file.

    Raises:
        OSError: it cannot be written. What had the name before has it still, and nothing else is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    try:
        with open(partial, "wb") as file:
            _save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def partial_of(path: Path) -> Path:
    """Where this process writes what will be this file."""
    return path.with_name(f".{path.name}.partial-{os.getpid()}")


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk too."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _save(checkpoint: Any, file: IO[bytes]) -> None:
    stream = _Sealed(file)
    try:
        torch.save(checkpoint, stream)
    except Exception:
        if stream.error is not None:  # of which torch makes a RuntimeError about positions
            raise stream.error from None
        raise
    stream.end(checkpoint)


class _Sealed:
    """What `torch.save` writes into: passes it on and hashes it, but for the record that ends the archive."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()
        self.size, self.error = 0, None
        self._held = b""

    def write(self, data: memoryview) -> int:
        """Pass on all but the last bytes."""
        try:
            self._pass_on(data)
        except BaseException as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        """There is nothing to do before the end."""

    def end(self, checkpoint: Any) -> None:
        """The record that ends the archive, and the manifest."""
        last = seal(self._held, self.digest, describe(checkpoint, self.size + len(self._held)))
        self.file.write(last)

    def _pass_on(self, data: memoryview) -> None:
        if len(data) < END_SIZE:
            data, self._held = memoryview(self._held + data), b""
        for part in (self._held, data[:-END_SIZE]):
            self.digest.update(part)
            self.file.write(part)
            self.size += len(part)
        self._held = bytes(data[-END_SIZE:])
