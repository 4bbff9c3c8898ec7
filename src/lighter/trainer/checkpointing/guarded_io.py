"""Checkpoint files whose errors wait until all processes can be told, and which may be written beside the training."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from lighter.errors import StorageError
from lighter.trainer.checkpointing.background import Background, copied
from lighter.trainer.checkpointing.io import CheckpointFiles
from lighter.trainer.checkpointing.write_errors import storage_error

log = logging.getLogger("lighter.runs")


class GuardedFiles(CheckpointFiles):
    """What Lightning calls in the process that writes. In a barrier, the others wait for it even if it cannot write.

    Attributes:
        background: what writes beside the training; None if files are written at once.
    """

    def __init__(self, in_background: bool) -> None:
        super().__init__()
        self.background = Background() if in_background else None
        self._error: StorageError | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save, or have it saved. A file that cannot be written is told by `outcome`."""
        if self.background is not None:
            self.background.save(partial(self._save, copied(checkpoint), path, storage_options))
            return
        try:
            self._save(checkpoint, path, storage_options)
        except StorageError as error:
            self._error = error

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a file, once the one that takes its place is written. One that cannot be removed stays."""
        if self.background is None:
            self._remove(path)
        else:
            self.background.remove(partial(self._remove, path))

    def outcome(self) -> StorageError | None:
        """What could not be written since this was last asked. Waits for what is being written."""
        error, self._error = self._error, None
        found = self.background.outcome() if self.background is not None else None
        if found is not None and not isinstance(found, StorageError):
            raise found
        return found or error

    def teardown(self) -> None:
        """Wait for what is being written."""
        if self.background is not None:
            self.background.close()

    def _save(self, checkpoint: dict[str, Any], path: Any, storage_options: Any) -> None:
        try:
            super().save_checkpoint(checkpoint, path, storage_options)
        except OSError as error:
            raise storage_error(error, path, checkpoint) from error

    def _remove(self, path: Any) -> None:
        try:
            super().remove_checkpoint(path)
        except OSError as error:
            log.warning("%s is not needed any more, and cannot be removed: %s", path, error.strerror or error)
