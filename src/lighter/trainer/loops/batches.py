"""From a dataloader to the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.trainer import call
from torch import Tensor

from lighter.parts.batches import is_on
from lighter.trainer.loops.hooks import moves_batches_itself
from lighter.trainer.loops.prefetch import AheadOfNeed

Transfer = Callable[[Any, int], Any]


def plan_transfer(trainer: Any) -> Transfer:
    """What takes a batch and the index of its dataloader, and returns the batch as the step gets it."""
    converts = type(trainer.precision_plugin).convert_input is not Precision.convert_input
    if moves_batches_itself(trainer) or converts:
        return _as_lightning(trainer)
    device = trainer.strategy.root_device
    if device.type != "cuda":
        return lambda batch, _: moved(batch, device)
    ahead = AheadOfNeed(device)
    return lambda batch, _: ahead.move(batch) if ahead.can_move(batch) else moved(batch, device)


def moved(batch: Any, device: torch.device) -> Any:
    """A batch on the device; at once where all of it is there already, tensors or text."""
    if type(batch) is Tensor and batch.device == device:
        return batch
    items = batch.values() if type(batch) is dict else batch if type(batch) is list else ()
    for item in items:
        if not is_on(item, device):
            return move_data_to_device(batch, device)
    # as Lightning: a step may change its list or dict, and the loader may give the same one again
    return batch.copy() if items else move_data_to_device(batch, device)


def _as_lightning(trainer: Any) -> Transfer:
    """The way past all hooks, in the steps that Lightning's loops take.

    `_on_before_batch_transfer` is private because only it knows whether module or data module is to be asked.
    """

    def transfer(batch: Any, dataloader_idx: int) -> Any:
        batch = trainer.precision_plugin.convert_input(batch)
        batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=dataloader_idx)
        return call._call_strategy_hook(trainer, "batch_to_device", batch, dataloader_idx=dataloader_idx)

    return transfer
