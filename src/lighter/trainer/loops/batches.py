"""The transfer of batches: from a dataloader's batch to one on the device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.plugins.precision import Precision
from torch import Tensor

from lighter._lightning.modules import transfer_through_hooks
from lighter.parts.batches import is_on
from lighter.trainer.loops.hooks import moves_batches_itself
from lighter.trainer.loops.prefetch import AheadOfNeed

Transfer = Callable[[Any, int], Any]


def plan_transfer(trainer: pl.Trainer) -> Transfer:
    """Return a function of a batch and the index of its dataloader, which gives the batch as the step gets it."""
    converts = type(trainer.precision_plugin).convert_input is not Precision.convert_input
    # hooks may return any batch, so what they do cannot be left out
    if moves_batches_itself(trainer) or converts:
        return partial(transfer_through_hooks, trainer)
    device = trainer.strategy.root_device
    if device.type != "cuda":
        return lambda batch, _: moved(batch, device)
    ahead = AheadOfNeed(device)
    return lambda batch, _: ahead.move(batch) if ahead.can_move(batch) else moved(batch, device)


def moved(batch: Any, device: torch.device) -> Any:
    """Return a batch on the device."""
    if type(batch) is Tensor and batch.device == device:
        return batch
    # Lightning's function searches the whole structure; items that are there, or have no device, need no search
    items = batch.values() if type(batch) is dict else batch if type(batch) is list else ()
    for item in items:
        if not is_on(item, device):
            return move_data_to_device(batch, device)
    # as Lightning: a step may change its list or dict, and the loader may give the same one again
    return batch.copy() if items else move_data_to_device(batch, device)
