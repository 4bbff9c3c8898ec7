"""Lightning's way to save and to load checkpoints, with ours for files on this machine."""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.cloud_io import get_filesystem
from pytorch_lightning.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from pytorch_lightning.strategies import Strategy

from lighter.files.integrity import verify
from lighter.files.partials import sweep
from lighter.parts.allocation import unfilled_memory
from lighter.trainer.checkpointing.connector import install_connector
from lighter.trainer.checkpointing.weights_only import plain, what_to_do
from lighter.trainer.checkpointing.writing import write

log = logging.getLogger("lighter.runs")

OF_SHARDED = (".metadata", "meta.pt", "latest")  # torch's, Lightning's for FSDP, DeepSpeed's
ARCHIVE, PICKLE = b"PK\x03\x04", b"\x80"  # how a file of torch's begins, and one of earlier versions


class CheckpointFiles(TorchCheckpointIO):
    """Checkpoints in files that are there whole or not at all, and that tell whether they are as they were saved.

    What is not on a local file system (`s3://...`) goes Lightning's way.
    """

    def __init__(self) -> None:
        self._told = False
        self._swept: set[Path] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save a file, which has its name when all of it is on the disk.

        Raises:
            OSError: it cannot be written; what was there before is there still.
        """
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(plain(checkpoint), path, storage_options)
            return
        if (folder := Path(path).parent) not in self._swept:  # of whoever saves: not all say where, before they do
            self._swept.add(folder)
            sweep(folder)
        content = plain(checkpoint)
        if write(content, Path(path)) and not self._told:
            self._told = True
            warnings.warn(what_to_do(content, Path(path).name), stacklevel=2)

    @unfilled_memory()
    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Load a file whose bytes are those that were saved; one without a manifest as it is.

        Raises:
            DamagedCheckpointError: they are not.
        """
        if "://" not in str(path) and Path(path).is_file():
            verify(path)
        only = weights_only is not False  # said always: torch would ask the environment, Lightning the address
        loaded: dict[str, Any] = super().load_checkpoint(path, map_location or _as_saved, only)
        return loaded

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint: a file that is one, a link, or the folder of a sharded one, and nothing else."""
        files = get_filesystem(path)
        schemes = [files.protocol] if isinstance(files.protocol, str) else files.protocol
        if "file" not in schemes:
            super().remove_checkpoint(path)
            return
        local = str(files._strip_protocol(str(path)))  # an absolute path
        if os.path.islink(local):
            os.unlink(local)
        elif is_checkpoint(Path(local)):
            shutil.rmtree(local) if os.path.isdir(local) else os.unlink(local)
        elif os.path.exists(local):
            log.warning("%s is no checkpoint, and is not removed", local)


def is_checkpoint(path: Path) -> bool:
    """Return whether there is a file that begins as `torch.save` begins one, or the folder of a sharded checkpoint."""
    if path.is_dir():
        return any((path / name).exists() for name in OF_SHARDED)
    try:
        with open(path, "rb") as file:
            return file.read(len(ARCHIVE)).startswith((ARCHIVE, PICKLE))
    except OSError:
        return False


def _as_saved(storage: Any, location: str) -> Any:
    """Lightning's default: tensors stay on the CPU, where they are read."""
    return storage


def install_saving(trainer: Any) -> None:
    """Have a trainer save our way, unless the user or the strategy has one, and choose among what is saved.

    Lightning's `AsyncCheckpointIO` that wraps no other has none of its own, and gets ours.
    """
    install_connector(trainer)
    strategy = trainer.strategy
    given = strategy._checkpoint_io
    if given is None and type(strategy).checkpoint_io is Strategy.checkpoint_io:
        strategy.checkpoint_io = CheckpointFiles()
    elif isinstance(given, AsyncCheckpointIO) and given.checkpoint_io is None:
        given.checkpoint_io = CheckpointFiles()
