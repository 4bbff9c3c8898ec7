"""Checkpoint files whose errors wait until all processes can be told, and that a thread may write (`async_save`)."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn import Parameter

from lighter.errors import StorageError
from lighter.parts.allocation import unfilled_memory
from lighter.parts.batches import tensors_in
from lighter.trainer.checkpointing.io import CheckpointFiles
from lighter.trainer.checkpointing.storage_errors import storage_error

log = logging.getLogger("lighter.runs")


class GuardedFiles(CheckpointFiles):
    """Save in the process that writes. The others wait for it in a barrier, so it must not raise before that.

    With `in_background`, one thread saves and removes, in the order in which it is told to.
    """

    def __init__(self, *, in_background: bool) -> None:
        super().__init__()
        self.in_background = in_background
        self._pool: ThreadPoolExecutor | None = None
        self._saved: Future[None] | None = None
        self._removed: list[Future[None]] = []
        self._error: StorageError | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save, or let the thread save a copy; `outcome` has to be called before the next save."""
        if self.in_background:
            self._pool = self._pool or ThreadPoolExecutor(1, "lighter-saving")
            self._saved = self._pool.submit(self._save, copied(checkpoint), path, storage_options)
            return
        try:
            self._save(checkpoint, path, storage_options)
        except StorageError as error:
            self._error = error

    def save_folder(self, checkpoint: dict[str, Any], path: str | Path) -> None:
        """Save shards, or let a thread of each process save a copy; `outcome` has to be called before the next save."""
        save = super().save_folder
        if self.in_background:
            # the trainer's own collectives go on meanwhile
            self.group = self.group or dist.new_group(backend="gloo")
            self._pool = self._pool or ThreadPoolExecutor(1, "lighter-saving")
            self._saved = self._pool.submit(save, copied(checkpoint), path)
            return
        try:
            save(checkpoint, path)
        except StorageError as error:
            self._error = error

    def remove_checkpoint(self, path: str | Path) -> None:
        # not before the file is written that takes its place. One that cannot be removed stays: no fit ends for
        # that
        if self._saved is None or self._pool is None:
            self._remove(path)
        else:
            self._removed.append(self._pool.submit(self._remove, path, after=self._saved))

    def outcome(self) -> StorageError | None:
        """Wait for what is being written, and return the error of the last save, once."""
        error, self._error = self._error, None
        saved, self._saved = self._saved, None
        removed, self._removed = self._removed, []
        errors = [future.exception() for future in ([saved] if saved is not None else []) + removed]
        failure = next(filter(None, errors), None)
        # others are mistakes, and not the disk's
        if failure is not None and not isinstance(failure, StorageError):
            raise failure
        return failure or error

    def teardown(self) -> None:
        # the process may end before its files are written
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)

    def _save(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any) -> None:
        try:
            super().save_checkpoint(checkpoint, path, storage_options)
        except OSError as error:
            raise storage_error(error, path, checkpoint) from error

    def _remove(self, path: str | Path, after: Future[None] | None = None) -> None:
        if after is not None and after.exception() is not None:
            return
        try:
            super().remove_checkpoint(path)
        except OSError as error:
            log.warning("%s is not needed any more, and cannot be removed: %s", path, error.strerror or error)


@unfilled_memory()
def copied(checkpoint: Any) -> Any:
    """Copy a checkpoint into the CPU's memory, so that nothing that is trained on afterwards changes it.

    A file of the copy is the same, byte for byte, as one of the checkpoint, but that tensors of a device are the CPU's.
    """
    memo: dict[int, Any] = {}
    storages: dict[int, Any] = {}  # torch's methods of storages have no types
    for _, tensor in tensors_in(checkpoint):  # `deepcopy` would leave one on its device, refuse it, or untie it
        memo[id(tensor)] = _on_cpu(tensor, storages)
    return deepcopy(checkpoint, memo)


def _on_cpu(tensor: Tensor, storages: dict[int, Any]) -> Tensor:
    if type(tensor) not in (Tensor, Parameter) or tensor.layout is not torch.strided or tensor.is_quantized:
        return tensor.detach().to("cpu", copy=True)
    # tensors that share their memory share that of their copies too
    storage: Any = tensor.untyped_storage()
    key = storage.data_ptr() or id(tensor)  # empty ones are all at 0
    if key not in storages:
        storages[key] = storage.clone() if storage.device.type == "cpu" else storage.cpu()
    copy = torch.empty(0, dtype=tensor.dtype)
    copy.set_(storages[key], tensor.storage_offset(), tensor.size(), tensor.stride())
    if type(tensor) is Parameter:
        return Parameter(copy, tensor.requires_grad)
    return copy.requires_grad_(tensor.requires_grad)
