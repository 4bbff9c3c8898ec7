"""A checkpoint that cannot be written, in one line: which, why, how large it is, what is kept."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lighter.errors import StorageError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def storage_error(error: OSError, path: Any, checkpoint: Any = None) -> StorageError:
    """What the system said when a checkpoint was written, as our error.

    Args:
        error: the system's.
        path: the checkpoint's.
        checkpoint: what was to be in it, for its size; None where that is not at hand.
    """
    if isinstance(error, StorageError):
        return error
    folder = Path(path).parent
    room = _room(folder, error, checkpoint) if error.errno in NO_ROOM else []
    about = f" ({', '.join(room)})" if room else ""
    return StorageError(f"{path} cannot be written: {error.strerror or error}{about}. {_kept(folder)}", error.errno)


def _kept(folder: Path) -> str:
    try:
        names = sorted(path.name for path in folder.glob("*.ckpt"))
    except OSError:
        names = []
    return f"Kept as before: {', '.join(names)}" if names else "There is no earlier checkpoint"


def size_of(value: Any) -> int:
    """The bytes of the tensors in nested data; a memory that several share counts once."""
    storages = (tensor.untyped_storage() for tensor in tensors_in(value) if tensor.layout is torch.strided)
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def in_words(size: float) -> str:
    """Bytes with a unit of a thousand: `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _room(folder: Path, error: OSError, checkpoint: Any) -> list[str]:
    words = [f"it takes {in_words(size_of(checkpoint))}"] if checkpoint is not None else []
    with suppress(OSError):
        if error.errno == errno.ENOSPC:  # what a quota leaves is not told
            words.append(f"{in_words(shutil.disk_usage(folder).free)} are free")
    return words


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested data."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from tensors_in(inner)
