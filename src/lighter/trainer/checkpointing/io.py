"""Lightning's interface for checkpoint files, with files on this machine written and verified by Lighter."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_fabric.utilities.cloud_io import get_filesystem
from pytorch_lightning.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from pytorch_lightning.strategies import Strategy
from torch import UntypedStorage
from torch import distributed as dist

from lighter._lightning.saves import given_checkpoint_io, install_connector
from lighter.files.folders import OF_SHARDED, clean, remove_whole
from lighter.files.integrity import verify
from lighter.parts.allocation import unfilled_memory
from lighter.processes.events import publish
from lighter.trainer.checkpointing.connector import CheckpointConnector
from lighter.trainer.checkpointing.weights_only import plain, what_to_do
from lighter.trainer.checkpointing.writing import write

if TYPE_CHECKING:
    from lighter.trainer import Trainer

log = logging.getLogger("lighter.runs")

WEIGHTS, GRADIENTS = "state_dict", "gradients"  # of a checkpoint, what is in shards as it is
ARCHIVE, PICKLE = b"PK\x03\x04", b"\x80"  # how a file of torch's begins, and one of earlier versions


class CheckpointFiles(TorchCheckpointIO):
    """Checkpoint files that are there whole or not at all, and that are verified when they are loaded.

    Paths that are not on a local file system (`s3://...`) are left to Lightning.
    """

    group: dist.ProcessGroup | None = None  # the processes that save a folder; None for all

    def __init__(self) -> None:
        self._has_warned = False
        self._swept: set[Path] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save a file, which has its name when all of it is on the disk.

        Raises:
            OSError: it cannot be written; a file that was there before still is.
        """
        content = plain(checkpoint)
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(content, path, storage_options)
            _publish(path, checkpoint)
            return
        self._sweep_once(Path(path).parent)
        self._tell(write(content, Path(path)), content, path)

    def save_folder(self, checkpoint: dict[str, Any], path: str | Path) -> None:
        """Save the shards of all processes in a folder, which has its name when all of it is on the disk.

        Raises:
            StorageError: it cannot be written, in all processes; what was there before still is.
        """
        from lighter.trainer.checkpointing.sharded import write_folder  # takes 0.2 s, and few need it

        is_first = dist.get_rank() == 0
        if is_first:
            self._sweep_once(Path(path).parent)
        rest, refused = write_folder(checkpoint, Path(path), self.group)
        if is_first:
            self._tell(refused, rest, path)

    def _sweep_once(self, folder: Path) -> None:
        # not only when a fit starts: code of the user's saves where it likes, and does not say so before
        if folder not in self._swept:
            self._swept.add(folder)
            clean(folder)

    def _tell(self, refused: list[str], checkpoint: dict[str, Any], path: str | Path) -> None:
        if refused and not self._has_warned:
            self._has_warned = True
            warnings.warn(what_to_do(checkpoint, Path(path).name), stacklevel=3)
        _publish(path, checkpoint)

    @unfilled_memory()
    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Verify and load a file.

        Raises:
            DamagedCheckpointError: its bytes are not those that were saved.
        """
        if "://" not in str(path) and Path(path).is_file():
            verify(path)
        only = weights_only is not False  # explicit: torch would ask the environment, Lightning the address
        loaded: dict[str, Any] = super().load_checkpoint(path, map_location or _on_cpu, only)
        return loaded

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint: a file that is one, a link, or the folder of a sharded one, and nothing else."""
        files = get_filesystem(path)
        schemes = [files.protocol] if isinstance(files.protocol, str) else files.protocol
        if "file" not in schemes:
            super().remove_checkpoint(path)
            return
        local = str(files._strip_protocol(str(path)))  # an absolute path
        if os.path.islink(local) or is_checkpoint(Path(local)):
            remove_whole(Path(local))
        elif os.path.exists(local):
            log.warning("%s is no checkpoint, and is not removed", local)


def _publish(path: str | Path, checkpoint: dict[str, Any]) -> None:
    publish("checkpoint", path=str(path), step=checkpoint.get("global_step"))


def is_checkpoint(path: Path) -> bool:
    # by how `torch.save` begins a file, or by what is in the folder of a sharded checkpoint: a wrong path of a
    # callback must not cost the user's files
    if path.is_dir():
        return any((path / name).exists() for name in OF_SHARDED)
    try:
        with open(path, "rb") as file:
            return file.read(len(ARCHIVE)).startswith((ARCHIVE, PICKLE))
    except OSError:
        return False


def _on_cpu(storage: UntypedStorage, location: str) -> UntypedStorage:
    # Lightning's default leaves a tensor where it is read
    return storage


def install_saving(trainer: Trainer) -> None:
    """Give a trainer our checkpoint files, unless the user or the strategy has its own, and our connector."""
    install_connector(trainer, CheckpointConnector(trainer))
    strategy, checkpoint_io = trainer.strategy, given_checkpoint_io(trainer)
    if checkpoint_io is None and type(strategy).checkpoint_io is Strategy.checkpoint_io:
        strategy.checkpoint_io = CheckpointFiles()
    # one that wraps no other has none of its own
    elif isinstance(checkpoint_io, AsyncCheckpointIO) and checkpoint_io.checkpoint_io is None:
        checkpoint_io.checkpoint_io = CheckpointFiles()
