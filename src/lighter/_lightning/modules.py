"""State that Lightning keeps in a module: its trainer, the running hook, hyperparameters. On all versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import pytorch_lightning as pl
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.trainer import call
from torchmetrics import Metric

from lighter._lightning.versions import IS_TESTED

# The attribute by which `self.log` knows where it is called from. The loops set it through `vars(module)`, as
# `nn.Module.__setattr__` costs a microsecond each time.
CURRENT_HOOK = "_current_fx_name"


class AttachedModule(Protocol):
    """A `LightningModule`, as far as these functions read it."""

    _trainer: pl.Trainer | None
    _current_fx_name: str | None

    @property
    def trainer(self) -> pl.Trainer: ...


def trainer_of(module: AttachedModule) -> pl.Trainer | None:
    """Return the trainer that a module is attached to, if any."""
    # the public property raises where there is none
    if IS_TESTED:
        return module._trainer
    try:
        return module.trainer
    except RuntimeError:
        return None


def log_again(module: AttachedModule, name: str, value: Metric) -> bool:
    """Log a metric object that `self.log` has logged before, from the same hook and under the same name.

    Returns:
        False if `self.log` has to do it: it has not seen the object yet, or this version of Lightning is untested.
    """
    if not IS_TESTED:
        return False
    # `self.log` compares and copies its arguments: a quarter of a millisecond per value and epoch
    results: Any = module.trainer._results
    loader = "" if results.dataloader_idx is None else f".{results.dataloader_idx}"
    key = f"{module._current_fx_name}.{name}{loader}"
    if key not in results or results[key].value is not value:
        return False
    results.update_metrics(key, value, 1)
    return True


def log_other_hparams(holder: LightningModule | LightningDataModule, hparams: Mapping[str, Any]) -> None:
    """Give the loggers these hyperparameters in place of those that a module or a data module saved."""
    if IS_TESTED:
        # the copy that Lightning keeps for the loggers alone, which nothing public reaches
        if holder._log_hyperparams:
            holder._hparams_initial = dict(hparams)  # type: ignore[union-attr]
        return
    # on an untested version: saved again, and those that the user's code reads are put back
    original = dict(holder.hparams)
    holder.save_hyperparameters(dict(hparams))
    holder.hparams.update(original)


def transfer_through_hooks(trainer: pl.Trainer, batch: Any, dataloader_idx: int) -> Any:
    """Move a batch to the device through all hooks, in the steps of Lightning's loops."""
    batch = trainer.precision_plugin.convert_input(batch)
    # private, as only it knows whether the module or the data module is asked
    batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=dataloader_idx)
    return call._call_strategy_hook(trainer, "batch_to_device", batch, dataloader_idx=dataloader_idx)
