"""From a dataloader to the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.trainer import call
from torch import Tensor

from lighter.trainer.hooks import moves_batches_itself

Transfer = Callable[[Any, int], Any]


def plan_transfer(trainer: Any) -> Transfer:
    """What takes a batch and the index of its dataloader, and returns the batch as the step gets it."""
    if moves_batches_itself(trainer) or type(trainer.precision_plugin) is not Precision:
        return _as_lightning(trainer)
    device = trainer.strategy.root_device
    return lambda batch, _: moved(batch, device)


def moved(batch: Any, device: torch.device) -> Any:
    """A batch on the device; at once where it is a tensor, or a list of tensors, that is there already."""
    if type(batch) is Tensor and batch.device == device:
        return batch
    if type(batch) is not list:
        return move_data_to_device(batch, device)
    for item in batch:
        if type(item) is not Tensor or item.device != device:
            return move_data_to_device(batch, device)
    return batch.copy()  # as Lightning: a step may change its list, and the loader may give the same list again


def _as_lightning(trainer: Any) -> Transfer:
    """The way past all hooks, in the steps that Lightning's loops take.

    `_on_before_batch_transfer` is private because only it knows whether module or data module is to be asked.
    """

    def transfer(batch: Any, dataloader_idx: int) -> Any:
        batch = trainer.precision_plugin.convert_input(batch)
        batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=dataloader_idx)
        return call._call_strategy_hook(trainer, "batch_to_device", batch, dataloader_idx=dataloader_idx)

    return transfer
