"""A checkpoint to a file that is there whole or not at all, whatever kills the process and whatever the disk does.

It is written beside its place under another name, synced, and renamed; then the folder is synced. The bytes go from
the tensors through the hash to the file, without a copy of them all.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch

from lighter.files.atomic import sync_folder
from lighter.files.manifest import END_SIZE
from lighter.files.partials import partial_of
from lighter.trainer.checkpointing.manifest import describe, seal
from lighter.trainer.checkpointing.weights_only import refused

_LARGE = 1 << 20  # bytes; what is smaller is gathered, as torch writes each tensor in four pieces
_CACHED = 1 << 18  # bytes that are still in the processor's cache for the file after the hash has read them


def write(checkpoint: Any, path: Path) -> list[str]:
    """Save a checkpoint in a file that has its name only when all of it is on the disk.

    It touches nothing but the file, and may be called from any thread; not twice at once for the same file.

    Returns:
        what is in it for which it cannot be loaded with `weights_only=True`; best nothing.

    Raises:
        OSError: it cannot be written. What had the name before has it still, and nothing else is left.
    """
    _make_folder(path.parent)
    partial = partial_of(path)
    try:
        with open(partial, "wb", buffering=0) as file:
            _save(checkpoint, file, path.parent)
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


def _save(checkpoint: Any, file: IO[bytes], folder: Path) -> None:
    stream: Any = _Sealed(file)
    try:
        torch.save(checkpoint, stream)
    except Exception:
        if stream.error is not None:  # of which torch makes a RuntimeError about positions
            raise stream.error from None
        raise
    stream.end(checkpoint, folder)


class _Sealed:
    """What `torch.save` writes into: hashes it on its way to a file, and ends it with a manifest.

    Attributes:
        error: what went wrong in a write, if something did.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.error: BaseException | None = None
        self._file, self._digest, self._size = file, hashlib.sha256(), 0
        self._gathered = bytearray()

    def write(self, data: memoryview) -> int:
        """Take some bytes."""
        try:
            if len(data) >= _LARGE:
                self._pass_on(self._gathered)
                self._pass_on(data)
                self._gathered = bytearray()
            else:
                self._gathered += data
            if len(self._gathered) >= _LARGE:
                self._pass_on(self._gathered[:-END_SIZE])
                self._gathered = self._gathered[-END_SIZE:]
        except BaseException as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        """Nothing is done before the end."""

    def end(self, checkpoint: Any, folder: Path) -> None:
        """Write the manifest, into the record that ends the archive, the last of which torch wrote."""
        end = bytes(self._gathered[-END_SIZE:])
        self._pass_on(self._gathered[:-END_SIZE])
        self._write(seal(end, self._digest, describe(checkpoint, self._size + END_SIZE, folder)))

    def _pass_on(self, data: bytearray | memoryview) -> None:
        for start in range(0, len(data), _CACHED):
            piece = memoryview(data)[start : start + _CACHED]
            self._digest.update(piece)
            self._write(piece)
        self._size += len(data)

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        """All of it: the system may write less, near a limit or of more than 2 GB."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]
