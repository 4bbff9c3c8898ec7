"""Buffers that are not the same in all processes.

DDP gives all processes the buffers of the first one before a forward pass, but not before each: not while gradients
add up, and not in a validation after its first batch; never with `broadcast_buffers=False`. Until it does, a process
computes with its own, and `state_dict` has those of the first process only. Where a module is sharded (FSDP2), its
buffers are not, and each process has its own throughout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypedDict

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from lighter._lightning.saves import has_shards


class BufferState(TypedDict, total=False):
    """The buffers of a process that differ from the first one's; empty without DDP."""

    own: Mapping[str, Tensor]  # by name
    sync: bool  # whether DDP is due to make them the same


def buffers_of_process(trainer: pl.Trainer) -> BufferState:
    """Return the buffers of this process that differ from those of the first one. A collective operation."""
    model = trainer.strategy.model
    if has_shards(trainer):
        return _of_shards(trainer)
    if not isinstance(model, DistributedDataParallel):
        return {}
    is_synced: bool = model.will_sync_module_buffers()  # type: ignore[no-untyped-call]
    # if the next forward pass gives all the same, nothing is lost
    buffers = {} if is_synced else dict(trainer.lightning_module.named_buffers())
    digests = {name: _digest(buffer) for name, buffer in buffers.items()}
    of_first: Mapping[str, str] = trainer.strategy.broadcast(digests) if model.modules_buffers else {}
    own = {name: buffers[name].detach().cpu().clone() for name in buffers if digests[name] != of_first.get(name)}
    return {"own": own, "sync": model.require_forward_param_sync}


def _of_shards(trainer: pl.Trainer) -> BufferState:
    # nobody makes them the same, and a sharded checkpoint has those of any one process
    buffers = {name: one for name, one in trainer.lightning_module.named_buffers() if type(one) is Tensor}
    digests = {name: _digest(buffer) for name, buffer in buffers.items()}
    of_all: list[Any] = [digests] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(of_all, digests)
    own = [name for name in buffers if any(other.get(name) != digests[name] for other in of_all)]
    return {"own": {name: buffers[name].detach().cpu().clone() for name in own}, "sync": False}


def load_buffers(trainer: pl.Trainer, saved: BufferState) -> None:
    model = trainer.strategy.model
    if not saved or not (isinstance(model, DistributedDataParallel) or has_shards(trainer)):
        return
    buffers = dict(trainer.lightning_module.named_buffers())
    for name, value in saved["own"].items():
        if name in buffers and buffers[name].shape == value.shape:
            buffers[name].copy_(value)
    if isinstance(model, DistributedDataParallel):
        model.require_forward_param_sync = saved["sync"]


def _digest(buffer: Tensor) -> str:
    flat = buffer.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.blake2b(flat.numpy().tobytes(), digest_size=16).hexdigest()
