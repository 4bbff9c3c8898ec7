"""Lightning's way to save and to load checkpoints, with ours for files on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from pytorch_lightning.strategies import Strategy

from lighter.trainer.saving.writing import write


class CheckpointFiles(TorchCheckpointIO):
    """Checkpoints in files that are whole, and say so; see `writing.py` and `manifest.py`.

    What is no local file (`s3://...`), and what is none of ours, goes Lightning's way.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save a file, which has its name when it is whole."""
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
        else:
            write(checkpoint, Path(path))


def install_saving(trainer: Any) -> None:
    """Save our way, unless the user or the strategy has one.

    Lightning's `AsyncCheckpointIO` without another inside is one without a way of its own, and gets ours.
    """
    strategy = trainer.strategy
    given = strategy._checkpoint_io
    if given is None and type(strategy).checkpoint_io is Strategy.checkpoint_io:
        strategy.checkpoint_io = CheckpointFiles()
    elif isinstance(given, AsyncCheckpointIO) and given.checkpoint_io is None:
        given.checkpoint_io = CheckpointFiles()
