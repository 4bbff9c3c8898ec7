"""Folders that are there whole or not at all: sharded checkpoints, of which each process writes a part."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from lighter.files.atomic import sync_folder
from lighter.files.manifest import read_manifest
from lighter.files.partials import partial_of, sweep

OF_SHARDED = (".metadata", "meta.pt", "latest")  # torch's, Lightning's for FSDP, DeepSpeed's
_REPLACED = ".replaced"


def publish(partial: Path, path: Path) -> None:
    """Give what is complete and on the disk its name, and remove what had that name before.

    No system replaces a folder in one step everywhere. So the earlier one is `last.replaced.ckpt` for a moment: after a
    kill in that, it is found as any checkpoint is, until the next one is published.

    Raises:
        OSError: it cannot be renamed; what had the name before still has it.
    """
    sync_folder(partial)
    earlier, is_there = replaced(path), os.path.lexists(path)
    if is_there:
        remove_whole(earlier)
        os.rename(path, earlier)
    try:
        os.rename(partial, path)
    except BaseException:
        if is_there:
            os.rename(earlier, path)
        raise
    sync_folder(path.parent)
    remove_whole(earlier)


def is_sharded(path: Path) -> bool:
    """Return whether a folder is a checkpoint of shards as torch's distributed checkpoint has them."""
    return path.is_dir() and all((path / name).is_file() for name in OF_SHARDED[:2])


def replaced(path: Path) -> Path:
    """Return the name of what is being replaced."""
    return path.with_name(path.stem + _REPLACED + path.suffix)


def remove_whole(path: Path) -> None:
    """Remove a file, a link or a folder, of which no part keeps the name; nothing is done if there is none."""
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    partial = partial_of(path)
    shutil.rmtree(partial, ignore_errors=True)
    os.rename(path, partial)
    shutil.rmtree(partial)


def clean(folder: Path) -> None:
    """Remove what processes that were killed have left in a folder of checkpoints: partial ones, and replaced ones."""
    sweep(folder)
    with suppress(OSError):  # no folder, or another process does so now
        for path in folder.glob("*.ckpt"):
            earlier = replaced(path)
            if earlier.is_dir() and read_manifest(earlier) is not None:
                remove_whole(earlier)
