"""Batches on their way to a GPU while it still computes.

A copy that is queued where the steps are queued begins when the GPU has done all steps before it. Queued on a stream
of its own it begins at once, as long as the host is ahead of the GPU, and the next step alone waits for it. Nothing
is fetched earlier: the same batches come in the same order, and draw the same random numbers.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lighter.parts.batches import HAS_NO_DEVICE


class AheadOfNeed:
    """Copies batches to a GPU on a stream of its own."""

    # tests give another module than `torch.cuda`
    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device, self._cuda = device, cuda
        self._stream = _stream_of(device, cuda)

    def can_move(self, batch: Any) -> bool:
        """Return whether a batch is tensors of the host, in lists and dicts, beside values that have no device."""
        leaves = tree_leaves(batch)
        tensors = [leaf for leaf in leaves if type(leaf) is Tensor]
        # a tensor on the GPU may still be computed by steps queued before; a type of the user's may move more than is
        # seen here
        return all(tensor.device.type == "cpu" for tensor in tensors) and all(
            type(leaf) is Tensor or type(leaf) in HAS_NO_DEVICE for leaf in leaves
        )

    def move(self, batch: Any) -> Any:
        """Return the batch on the GPU, for steps queued from now on. The host waits only for unpinned memory."""
        with self._cuda.stream(self._stream):
            moved = move_data_to_device(batch, self._device)
        current = self._cuda.current_stream(self._device)
        # the GPU waits, not the host
        current.wait_stream(self._stream)
        for tensor in tree_leaves(moved):
            if isinstance(tensor, Tensor):
                # its memory is not to be given to the next copy while a step reads it
                tensor.record_stream(current)
        return moved


@functools.cache
def _stream_of(device: torch.device, cuda: Any) -> Any:
    """Make one stream for all loops of a process."""
    # memory allocated for one stream is not given to another
    return cuda.Stream(device)
