"""Describe a checkpoint that cannot be written: which, why, how large it is, what is kept."""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from lighter.errors import StorageError
from lighter.parts.batches import tensors_in

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def storage_error(error: OSError, path: str | Path, checkpoint: Any = None) -> StorageError:
    """Make our error of the system's, with the checkpoint's size where the checkpoint is at hand."""
    if isinstance(error, StorageError):
        return error
    folder = Path(path).parent
    room: list[str] = []
    if checkpoint is not None and error.errno in NO_ROOM:
        room.append(f"it takes {size_in_words(_size_of(checkpoint))}")
    if error.errno == errno.ENOSPC:  # the system does not tell how much of a quota is left
        with suppress(OSError):
            room.append(f"{size_in_words(shutil.disk_usage(folder).free)} are free")
    about = f" ({', '.join(room)})" if room else ""
    try:
        names = sorted(path.name for path in folder.glob("*.ckpt"))
    except OSError:
        names = []
    kept = f"Kept as before: {', '.join(names)}" if names else "There is no earlier checkpoint"
    return StorageError(f"{path} cannot be written: {error.strerror or error}{about}. {kept}", error.errno)


def _size_of(value: Any) -> int:
    # a memory that several tensors share is written once
    storages = (tensor.untyped_storage() for _, tensor in tensors_in(value) if tensor.layout is torch.strided)
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def size_in_words(size: float) -> str:
    """Write a number of bytes with three digits: `19.2 kB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
