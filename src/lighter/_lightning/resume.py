"""The private state of Lightning's loops and callbacks, and of torch's, that an exact resume reads and restores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

_NOTES = ("current_score", "_last_global_step_saved", "_last_checkpoint_saved", "_defer_save_until_validation")


def checkpoint_notes(callback: ModelCheckpoint, trainer: pl.Trainer, saving: str | None) -> dict[str, Any]:
    """Return what a checkpoint callback has noted and does not save itself, while the file `saving` is saved."""
    notes = {name: getattr(callback, name) for name in _NOTES}
    # the callback notes its own file only once it is written
    if saving in (callback.last_model_path, callback.best_model_path, *callback.best_k_models):
        notes |= {"_last_global_step_saved": trainer.global_step, "_last_checkpoint_saved": saving}
    return notes


def restore_notes(callback: ModelCheckpoint, notes: Mapping[str, Any], *, has_saved: bool) -> None:
    """Restore a checkpoint callback's notes."""
    for name, value in notes.items():
        setattr(callback, name, value)
    # one that has not saved saves `last` at the end of the fit
    if not has_saved:
        callback._last_checkpoint_saved = ""


def end_restart(*loops: Any) -> None:
    """Let restored loops run as loops that have come to their position by themselves."""
    for loop in loops:
        loop._restarting = loop._loaded_from_state_dict = False


def accumulates(trainer: pl.Trainer) -> bool:
    """Return whether gradients add up after the batch that was trained last, rather than be stepped with."""
    return trainer.fit_loop._should_accumulate()


def modes_in_training(trainer: pl.Trainer) -> Mapping[str, bool]:
    """Return the modes of modules, by name, that the running validation will set back."""
    return trainer.fit_loop.epoch_loop.val_loop._module_mode.mode


def draw_from(sampler: Any, loader: DataLoader) -> None:
    """Let persistent workers that were begun before be sent what a sampler draws."""
    # their iterator stays, with the sampler that the loader had when it began
    if loader.persistent_workers and loader._iterator is not None:
        loader._iterator._index_sampler = sampler


def own_tensors(module: nn.Module) -> dict[str, Tensor | None]:
    """Return the parameters and buffers of a module without its submodules; None for what it registered so."""
    return {**module._parameters, **module._buffers}


def own_buffers(module: nn.Module) -> Iterator[tuple[str, Tensor | None, bool]]:
    """Yield the buffers of a module without its submodules, and whether each is in its `state_dict`."""
    for name, buffer in module._buffers.items():
        yield name, buffer, name not in module._non_persistent_buffers_set


def version_of(tensor: Tensor) -> int | None:
    """Return how often a tensor was changed in place; None if torch does not count."""
    # tensors of inference mode have no counter, and torch raises where it is read
    return None if tensor.is_inference() else tensor._version
