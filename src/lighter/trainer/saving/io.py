"""Lightning's way to save and to load checkpoints, with ours for files on this machine."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from pytorch_lightning.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from pytorch_lightning.strategies import Strategy

from lighter.parts.allocation import unfilled_memory
from lighter.trainer.saving.connector import install_connector
from lighter.trainer.saving.damage import verify
from lighter.trainer.saving.plain import plain, what_to_do
from lighter.trainer.saving.writing import write


class CheckpointFiles(TorchCheckpointIO):
    """Checkpoints in files that are there whole or not at all, and that tell whether they are as they were saved.

    What is not on a local file system (`s3://...`) goes Lightning's way.
    """

    def __init__(self) -> None:
        self._told = False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save a file, which has its name when all of it is on the disk.

        Raises:
            OSError: it cannot be written; what was there before is there still.
        """
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
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
        loaded: dict[str, Any] = super().load_checkpoint(path, map_location or _as_saved, weights_only)
        return loaded


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
