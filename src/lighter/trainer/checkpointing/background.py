"""Checkpoints that are written beside the training: a copy of the state, and one thread that writes it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from lighter.parts.allocation import unfilled_memory
from lighter.trainer.checkpointing.write_errors import tensors_in


@unfilled_memory()
def copied(checkpoint: Any) -> Any:
    """A copy of a checkpoint, which nothing that is trained on afterwards changes; its tensors in the CPU's memory.

    Tensors that share their memory share that of their copies too, so a file of the copy is the same, byte for byte,
    as one of the checkpoint; but of tensors on a device it says that they are the CPU's.
    """
    memo: dict[int, Any] = {}
    storages: dict[int, Any] = {}
    for tensor in tensors_in(checkpoint):
        memo[id(tensor)] = _on_cpu(tensor, storages)  # deepcopy would leave it where it is, or refuse it, or untie it
    return deepcopy(checkpoint, memo)


def _on_cpu(tensor: Tensor, storages: dict[int, Any]) -> Tensor:
    if type(tensor) not in (Tensor, Parameter) or tensor.layout is not torch.strided or tensor.is_quantized:
        return tensor.detach().to("cpu", copy=True)
    storage: Any = tensor.untyped_storage()
    key = storage.data_ptr() or id(tensor)  # empty ones are all at 0
    if key not in storages:
        storages[key] = storage.clone() if storage.device.type == "cpu" else storage.cpu()
    copy = torch.empty(0, dtype=tensor.dtype)
    copy.set_(storages[key], tensor.storage_offset(), tensor.size(), tensor.stride())
    if type(tensor) is Parameter:
        return Parameter(copy, tensor.requires_grad)
    return copy.requires_grad_(tensor.requires_grad)


class Background:
    """One thread that writes checkpoints and removes them, in the order in which it is told to."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._saved: Future[None] | None = None
        self._removed: list[Future[None]] = []

    def save(self, write: Callable[[], None]) -> None:
        """Call what writes a checkpoint; only when nobody has yet to ask for the outcome of the one before."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "lighter-saving")
        self._saved = self._pool.submit(write)

    def remove(self, remove: Callable[[], None]) -> None:
        """Call what removes a checkpoint, if the one that was to be written before it is written."""
        if self._saved is None or self._pool is None:
            remove()
        else:
            self._removed.append(self._pool.submit(_then, self._saved, remove))

    def outcome(self) -> BaseException | None:
        """Wait until all is done; what went wrong, told once."""
        saved, self._saved = self._saved, None
        error = saved.exception() if saved is not None else None
        removed, self._removed = self._removed, []
        failures = [future.exception() for future in removed]
        return error or next(filter(None, failures), None)

    def close(self) -> None:
        """Wait until all is done, and end the thread."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)


def _then(saved: Future[None], remove: Callable[[], None]) -> None:
    if saved.exception() is None:
        remove()
