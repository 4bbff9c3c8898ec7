"""The state that a checkpoint holds beside Lightning's own, of every process, so that a fit resumes exactly."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, Timer
from torch import Tensor

from lighter._lightning.results import row_of_step, show_values
from lighter._lightning.resume import accumulates, checkpoint_notes, restore_notes
from lighter.parallel.ranks import data_copies
from lighter.parts.metrics.state import load_metric_states
from lighter.parts.plain_tensors import plain_tensor
from lighter.trainer.checkpointing.restored import is_of_this_fit
from lighter.trainer.resume.buffers import BufferState, buffers_of_process, load_buffers
from lighter.trainer.resume.dataloaders import Size
from lighter.trainer.resume.dealing import Dealt, Order
from lighter.trainer.resume.epoch_results import EpochResults, measured, take_up
from lighter.trainer.resume.module_modes import AttributeState
from lighter.trainer.resume.position import BATCH_END, BATCHES, EPOCH_END, WITHIN, place_of
from lighter.trainer.resume.random_streams import HostState

log = logging.getLogger("lighter")

KEY = "lighter"  # in the state of Lightning's fit loop, which other trainers leave alone


class ProcessState(TypedDict, total=False):
    """The state of one process, as plain data. Checkpoints of earlier versions lack some of the keys."""

    loaders: Sequence[Any]  # the states of the training dataloaders that have one
    datasets: Sequence[Any]  # those of their datasets
    is_cut: bool  # whether a limit ended the epoch before its dataloaders did
    sizes: Sequence[Size | None]  # how many batches each dataloader has, and of how many samples
    orders: Sequence[Order | None]  # how each dataloader orders its samples
    dealt: Dealt | None  # how the rest of the epoch was dealt to other processes than had begun it
    made_in: int  # the epoch in which the dataloaders were made
    measured: EpochResults
    counts: Mapping[str, Any]  # the steps of evaluations
    row: Mapping[str, Tensor]  # the values of the last step that the loggers do not have yet
    numbers: HostState  # of the random streams
    switches: AttributeState  # the attributes that hooks have changed, modes and `requires_grad` among them
    samplers: Mapping[str, AttributeState]  # those of samplers: `now`, and when they `begun` the epoch's order
    gradients: Mapping[str, Tensor]  # those that wait for the optimizer's step, by parameter
    buffers: BufferState  # those that differ from the first process's


@dataclass(frozen=True)
class ResumeState:
    """The state of a fit when a checkpoint is saved, as plain data, which `weights_only=True` reads."""

    seed: int  # of all its random numbers
    place: str  # the position in the epoch; see `position`
    should_stop: bool  # whether it was about to end
    checkpoints: Mapping[str, Mapping[str, Any]]  # what `ModelCheckpoint`s do not save themselves, by their keys
    processes: list[ProcessState]
    stopped_by: Sequence[str] = ()  # the keys of the callbacks that wanted it to end
    copies: int = 1  # how many processes, one after the other, have the same data

    @property
    def is_within(self) -> bool:
        # batches of an epoch were trained, and its end is to come
        return self.place in WITHIN or self.place == EPOCH_END


def saved_state(trainer: Any, seed: int, loaders: Mapping[str, Any], file: str | Path | None) -> dict[str, Any]:
    """Return the state of a fit, which is saved in a `file`, as plain data. A collective operation.

    `loaders` are the entries of a `ProcessState` about dataloaders.
    """
    place = place_of(trainer)
    process: Any = {**loaders, **_process_state(trainer, place)}
    processes = [process]
    if trainer.world_size > 1 and torch.distributed.is_initialized():
        processes = [None] * trainer.world_size
        torch.distributed.all_gather_object(processes, process)
    stopped_by = [callback.state_key for callback in trainer.callbacks if _has_stopped(callback)]
    # a stop saves under such a name too, and not for a callback
    saving = None if file is None or trainer.stopping.is_saving else os.fspath(file)
    checkpoints = {
        callback.state_key: checkpoint_notes(callback, trainer, saving)
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint)
    }
    return vars(ResumeState(seed, place, bool(trainer.should_stop), checkpoints, processes, stopped_by, data_copies()))


def restore(trainer: Any, saved: ResumeState) -> None:
    """Restore the state of this process before the first hook of the fit."""
    process = saved.processes[trainer.global_rank]
    trainer.fit_loop.epoch_loop.val_loop.resume_counts(process["counts"])
    trainer.should_stop = trainer.should_stop or _is_still_to_stop(trainer, saved)
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint):
            is_own = is_of_this_fit(trainer.ckpt_path, callback, trainer.stopping.folder)
            notes = saved.checkpoints.get(callback.state_key, {})
            restore_notes(callback, notes, has_saved=callback.save_top_k != 0 and is_own)
    gradients = process["gradients"]
    for name, parameter in trainer.lightning_module.named_parameters() if gradients else ():
        if name in gradients:
            parameter.grad = gradients[name].to(parameter.device, parameter.dtype)  # the precision may be another
    load_buffers(trainer, process.get("buffers", {}))
    # between epochs nothing is accumulated: only what callbacks and the progress bar see goes on
    if saved.is_within:
        take_up(trainer, process["measured"])
    else:
        show_values(trainer, process["measured"]["shown"])


def restore_metrics(trainer: pl.Trainer, saved: ResumeState) -> None:
    # after `on_train_start`, where modules reset theirs. They accumulate over epochs too
    load_metric_states(trainer.lightning_module, saved.processes[trainer.global_rank]["measured"]["metrics"])


def _is_still_to_stop(trainer: Any, saved: ResumeState) -> bool:
    # not if the callback that told it is gone, nor for a `Timer`: a resumed fit has its own time
    callbacks = {callback.state_key: callback for callback in trainer.callbacks if not isinstance(callback, Timer)}
    stops = saved.should_stop and (not saved.stopped_by or any(key in callbacks for key in saved.stopped_by))
    if stops:
        by = ", ".join(type(callbacks[key]).__name__ for key in saved.stopped_by if key in callbacks)
        hint = f"by {by}, and stops where it would have. It trains on without that callback" if by else "and stops"
        log.info("resume: the fit had been told to stop %s", hint)
    return stops


def _has_stopped(callback: Callback) -> bool:
    if isinstance(callback, Timer):
        left = callback.time_remaining()
        return left is not None and left <= 0
    return isinstance(callback, EarlyStopping) and callback.stopping_reason.value != 0


def _process_state(trainer: Any, place: str) -> dict[str, Any]:
    loop, ends_step = trainer.fit_loop, place == BATCH_END and not trainer.validating
    row = row_of_step(trainer) if ends_step else {}
    named = trainer.lightning_module.named_parameters() if _accumulates(trainer, place) else ()
    return {
        "measured": measured(trainer, ends_step=ends_step),
        "counts": loop.epoch_loop.val_loop.counts(),
        "row": {name: plain_tensor(value).cpu() for name, value in row.items()},
        "numbers": loop.streams.state(),
        "switches": loop.attributes(),
        "samplers": loop.sampler_attributes(is_within=place in WITHIN),
        "gradients": {name: item.grad.detach().cpu() for name, item in named if type(item.grad) is Tensor},
        "buffers": buffers_of_process(trainer),
    }


def waiting_gradients(trainer: pl.Trainer) -> dict[str, Tensor]:
    """Return the gradients that wait for the optimizer's step and are sharded, by parameter."""
    named = trainer.lightning_module.named_parameters() if _accumulates(trainer, place_of(trainer)) else ()
    return {name: item.grad for name, item in named if item.grad is not None and type(item.grad) is not Tensor}


def _accumulates(trainer: pl.Trainer, place: str) -> bool:
    # with manual optimization only the user knows
    if not trainer.lightning_module.automatic_optimization:
        return True
    if place not in WITHIN:
        return False
    if place != BATCHES:
        return accumulates(trainer)
    # before a batch, Lightning answers for that one
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    return bool(batches.processed % trainer.accumulate_grad_batches)
