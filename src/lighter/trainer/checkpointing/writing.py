"""Write a checkpoint to a file that is there whole or not at all, whatever kills the process or the disk does.

It is written under another name in the same folder, synced, and renamed; then the folder is synced. The bytes go from
the tensors to the file, without a copy of them all.
"""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch

from lighter.files.atomic import sync_folder
from lighter.files.folders import publish
from lighter.files.manifest import END_SIZE, Manifest, sealed
from lighter.files.partials import partial_of
from lighter.trainer.checkpointing.manifest import describe
from lighter.trainer.checkpointing.weights_only import refused

_BUFFER = 1 << 20  # bytes; torch writes each tensor in four pieces, most of them small


def write(checkpoint: Any, path: Path) -> list[str]:
    """Save a checkpoint in a file that has its name only when all of it is on the disk.

    It may be called from any thread; not twice at once for the same file.

    Returns:
        the names in it that `weights_only=True` refuses; best none.

    Raises:
        OSError: it cannot be written. A file that had the name before is still there, and nothing else is left.
    """
    make_folder(path.parent)
    partial = partial_of(path)
    try:
        with open(partial, "wb", buffering=_BUFFER) as file:
            _save(checkpoint, file, path.parent)
            file.flush()
            os.fsync(file.fileno())  # before the rename, or a loss of power may leave an empty file of that name
        unsafe = refused(partial)
        # a fit in one process writes over what several have saved
        publish(partial, path) if path.is_dir() else os.replace(partial, path)
    except BaseException:  # also a signal that stops the process
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return unsafe


def make_folder(folder: Path) -> None:
    """Make a folder and those that it is in, and sync their names."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    # else a new folder, with the file in it, may be gone after a loss of power
    for each in missing:
        sync_folder(each.parent)


def _save(checkpoint: Any, file: IO[bytes], folder: Path) -> None:
    stream: Any = _Stream(file)
    try:
        torch.save(checkpoint, stream)
    except Exception:
        if stream.error is not None:
            raise stream.error from None
        raise
    stream.end(describe(checkpoint, file.tell(), folder))


class _Stream:
    """A file that knows the CRC-32 of its bytes, but for the record that ends an archive: it gets the manifest."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._crc, self._held = file, 0, b""
        self.error: BaseException | None = None  # of a write; torch makes a `RuntimeError` about positions of it

    def write(self, data: memoryview) -> int:
        try:
            self._file.write(data)
        except BaseException as error:
            self.error = error
            raise
        if len(data) < END_SIZE:
            held = self._held + bytes(data)
            self._crc, self._held = zlib.crc32(held[:-END_SIZE], self._crc), held[-END_SIZE:]
        else:
            self._crc = zlib.crc32(data[:-END_SIZE], zlib.crc32(self._held, self._crc))
            self._held = bytes(data[-END_SIZE:])
        return len(data)

    def end(self, manifest: Manifest) -> None:
        self._file.seek(-END_SIZE, os.SEEK_CUR)
        self._file.write(sealed(self._held, self._crc, manifest))

    def flush(self) -> None:
        """Do nothing: the end of the file is still to come."""
