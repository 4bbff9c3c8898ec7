"""Checkpoints that are folders, of which each process writes and reads the shards of its own.

    last.ckpt/
      __0_0.distcp, __1_0.distcp, ...   the shards, by process, as torch's distributed checkpoint (DCP) writes them
      .metadata                         which tensor is where
      meta.pt                           what is no weight and no optimizer's state, as Lightning writes it
      lighter.manifest                  facts, and the size and the CRC-32 of each of these files

The processes write into a folder with another name. When all have written, the first one writes the rest, syncs the
folder and renames it. An error of one is an error of all. Lightning and torch read the folder as their own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_saver import save

from lighter._lightning.sharded import REST, ChecksummedFiles, WholeFolderWriter
from lighter.files.folders import publish
from lighter.files.manifest import IN_FOLDER, Manifest, sealed_folder
from lighter.files.partials import partial_of
from lighter.trainer.checkpointing.io import GRADIENTS, WEIGHTS
from lighter.trainer.checkpointing.manifest import describe
from lighter.trainer.checkpointing.storage_errors import storage_error
from lighter.trainer.checkpointing.weights_only import plain, refused
from lighter.trainer.checkpointing.writing import make_folder

OPTIMIZERS, OPTIMIZER = "optimizer_states", "optimizer_{}"  # in a checkpoint, and the shards of each of them


def write_folder(
    checkpoint: Mapping[str, Any], path: Path, group: dist.ProcessGroup | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Save a checkpoint in a folder that has its name only when all of it is on the disk. A collective operation.

    Args:
        path: the folder; that of the first process counts.
        group: the processes; None for all of them.

    Returns:
        what is in no shard; and, in the first process, the names in that which `weights_only=True` refuses, best none.

    Raises:
        StorageError: it cannot be written, in all processes. What had the name before still has it.
    """
    path, partial = _agreed_paths(path, group)
    folder = _Folder(checkpoint, path, partial)
    if dist.get_rank(group) == 0:
        shutil.rmtree(partial, ignore_errors=True)  # of a save that was interrupted; no shard is written yet
        with suppress(OSError):  # which `save` raises in all processes
            make_folder(path.parent)
    try:
        save(folder.shards, storage_writer=WholeFolderWriter(partial, folder.complete), process_group=group)
    except CheckpointException as failed:
        raise _error_of(failed, path) from failed
    finally:
        # renamed by now, unless it failed. The others have written: whoever is first waits for them
        if dist.get_rank(group) == 0:
            shutil.rmtree(partial, ignore_errors=True)
    return folder.rest, folder.refused


def _agreed_paths(path: Path, group: dist.ProcessGroup | None) -> tuple[Path, Path]:
    # a relative path may be another in each process
    paths: list[Any] = [path.absolute(), partial_of(path.absolute())]
    dist.broadcast_object_list(paths, group_src=0, group=group)
    return paths[0], paths[1]


class _Folder:
    """The content of a folder, and its completion in the first process."""

    def __init__(self, checkpoint: Mapping[str, Any], path: Path, partial: Path) -> None:
        self._path, self._partial = path, partial
        self._facts = describe(checkpoint, 0, path.parent)
        self.shards = {key: checkpoint[key] for key in (WEIGHTS, GRADIENTS) if key in checkpoint}
        self.shards |= {OPTIMIZER.format(n): state for n, state in enumerate(checkpoint.get(OPTIMIZERS, ()))}
        rest = {key: value for key, value in checkpoint.items() if key not in (*self.shards, OPTIMIZERS)}
        self.rest: dict[str, Any] = plain(rest)
        self.refused: list[str] = []

    def complete(self, files: Mapping[str, tuple[int, int]]) -> None:
        """Write what is no shard, and give the folder its name."""
        rest = ChecksummedFiles()
        with rest.create_stream(self._partial / REST, "wb") as file:
            torch.save(self.rest, file)
            file.flush()
            os.fsync(file.fileno())
        self.refused = refused(self._partial / REST)
        files = {**files, **rest.written}
        facts = {**vars(self._facts), "files": files, "size": sum(size for size, _ in files.values())}
        with open(self._partial / IN_FOLDER, "wb") as manifest:
            manifest.write(sealed_folder(Manifest(**facts)))
            manifest.flush()
            os.fsync(manifest.fileno())
        publish(self._partial, self._path)


def _error_of(failed: CheckpointException, path: Path) -> BaseException:
    # of several the first process's, and rather one of the disk; equal in all processes
    errors = [error for _, (error, _) in sorted(failed.failures.items())]
    of_disk = next((error for error in errors if isinstance(error, OSError)), None)
    return storage_error(of_disk, path) if of_disk is not None else errors[0]
