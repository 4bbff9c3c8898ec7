"""What a checkpoint holds beside Lightning's own, so that a fit goes on exactly; of every process."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, Timer

from lighter.parts.metrics.state import load_metric_states
from lighter.parts.plain_tensors import plain_tensor
from lighter.trainer.checkpointing.restored import is_of_this_fit
from lighter.trainer.resume.buffers import buffers_of_process, load_buffers
from lighter.trainer.resume.epoch_results import measured, show_again, take_up
from lighter.trainer.resume.position import BATCH_END, BATCHES, EPOCH_END, WITHIN, place_of

log = logging.getLogger("lighter")

KEY = "lighter"  # in the state of Lightning's fit loop, which other trainers leave alone
_OF_CHECKPOINTS = ("current_score", "_last_global_step_saved", "_last_checkpoint_saved", "_defer_save_until_validation")


@dataclass(frozen=True)
class Saved:
    """Where a fit was, as a checkpoint has it.

    Attributes:
        seed: of all its random numbers.
        place: where in the epoch; see `position`.
        should_stop: whether it was about to end.
        checkpoints: what Lightning's `ModelCheckpoint`s do not save of themselves, by their keys.
        processes: the state of each.
        stopped_by: the keys of the callbacks that wanted it to end.
    """

    seed: int
    place: str
    should_stop: bool
    checkpoints: Mapping[str, Mapping[str, Any]]
    processes: list[Mapping[str, Any]]
    stopped_by: Sequence[str] = ()

    @property
    def is_within(self) -> bool:
        """Whether batches of an epoch were trained, and its end is to come."""
        return self.place in WITHIN or self.place == EPOCH_END


def saved_state(trainer: Any, seed: int, loaders: Mapping[str, Any], file: Any) -> dict[str, Any]:
    """Where a fit is. All processes take part.

    Args:
        seed: of its random numbers.
        loaders: what there is of the dataloaders.
        file: where it is saved.
    """
    place = place_of(trainer)
    own = {**loaders, **_of_process(trainer, place)}
    processes: list[Any] = [own]
    if trainer.world_size > 1 and torch.distributed.is_initialized():
        processes = [None] * trainer.world_size
        torch.distributed.all_gather_object(processes, own)
    return {
        "seed": seed,
        "place": place,
        "should_stop": bool(trainer.should_stop),
        "stopped_by": [one.state_key for one in trainer.callbacks if _has_stopped(one)],
        "checkpoints": _of_checkpoint_callbacks(trainer, file),
        "processes": processes,
    }


def go_on(trainer: Any, saved: Saved) -> None:
    """Take up what this process had, before the first hook of the fit."""
    own = saved.processes[trainer.global_rank]
    trainer.fit_loop.epoch_loop.val_loop.go_on_counting(own["counts"])
    trainer.should_stop = trainer.should_stop or _is_still_to_stop(trainer, saved)
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint):
            for name, value in saved.checkpoints.get(callback.state_key, {}).items():
                setattr(callback, name, value)
            if callback.save_top_k == 0 or not is_of_this_fit(trainer.ckpt_path, callback, trainer.stopping.folder):
                callback._last_checkpoint_saved = ""  # it saves `last` at the end of the fit if it has saved nothing
    _set_gradients(trainer.lightning_module, own["gradients"])
    load_buffers(trainer, own.get("buffers", {}))
    if saved.is_within:
        take_up(trainer, own["measured"])
    else:
        show_again(trainer, own["measured"])


def go_on_with_metrics(trainer: Any, saved: Saved) -> None:
    """Take up what metrics had added up, over epochs too; after `on_train_start`, where modules reset theirs."""
    load_metric_states(trainer.lightning_module, saved.processes[trainer.global_rank]["measured"]["metrics"])


def _is_still_to_stop(trainer: Any, saved: Saved) -> bool:
    """Whether a fit that was told to stop has to: not if what told it is gone, or is a `Timer`, which looks again."""
    here = {one.state_key: one for one in trainer.callbacks if not isinstance(one, Timer)}
    stops = saved.should_stop and (not saved.stopped_by or any(key in here for key in saved.stopped_by))
    if stops:
        by = ", ".join(type(here[key]).__name__ for key in saved.stopped_by if key in here)
        hint = f"by {by}, and stops where it would have. It trains on without that callback" if by else "and stops"
        log.info("resume: the fit had been told to stop %s", hint)
    return stops


def _has_stopped(callback: Any) -> bool:
    if isinstance(callback, Timer):
        left = callback.time_remaining()
        return left is not None and left <= 0
    return isinstance(callback, EarlyStopping) and callback.stopping_reason.value != 0


def row_to_log(trainer: Any, saved: Saved) -> Mapping[str, Any]:
    """The values of the step that were not with the loggers yet."""
    row: Mapping[str, Any] = saved.processes[trainer.global_rank]["row"]
    return row


def _of_process(trainer: Any, place: str) -> dict[str, Any]:
    loop, ends_step = trainer.fit_loop, place == BATCH_END and not trainer.validating
    return {
        "measured": measured(trainer, ends_step=ends_step),
        "counts": loop.epoch_loop.val_loop.counts(),
        "row": _row(trainer) if ends_step else {},
        "numbers": loop.streams.state(),
        "switches": loop.attributes(),
        "samplers": loop.sampler_attributes(is_within=place in WITHIN),
        "gradients": _gradients(trainer) if _accumulates(loop, place) else {},
        "buffers": buffers_of_process(trainer),
    }


def _row(trainer: Any) -> dict[str, Any]:
    """What Lightning gives the loggers once the hooks of a step are over."""
    connector = trainer._logger_connector
    accumulates = trainer.fit_loop._should_accumulate() and trainer.lightning_module.automatic_optimization
    if accumulates or not (connector.should_update_logs or trainer.fast_dev_run):
        return {}
    return {name: plain_tensor(value).cpu() for name, value in connector.metrics["log"].items()}


def _accumulates(loop: Any, place: str) -> bool:
    """Whether gradients have added up since the optimizer's last step; only the user knows where he steps himself."""
    if not loop.trainer.lightning_module.automatic_optimization:
        return True
    if place not in WITHIN:
        return False
    if place != BATCHES:
        return bool(loop._should_accumulate())
    # before a batch, Lightning answers for that one
    return bool(loop.epoch_loop.batch_progress.current.processed % loop.trainer.accumulate_grad_batches)


def _gradients(trainer: Any) -> dict[str, torch.Tensor]:
    """The gradients that have added up since the optimizer's last step."""
    named = trainer.lightning_module.named_parameters()
    return {name: item.grad.detach().cpu() for name, item in named if type(item.grad) is torch.Tensor}


def _set_gradients(module: Any, gradients: Mapping[str, torch.Tensor]) -> None:
    for name, parameter in module.named_parameters() if gradients else ():
        if name in gradients:
            parameter.grad = gradients[name].to(parameter.device, parameter.dtype)  # of another precision, perhaps


def _of_checkpoint_callbacks(trainer: Any, file: Any) -> dict[str, dict[str, Any]]:
    """The one that is saving notes only afterwards that it has; a stop saves under its name, and it does not."""
    states = {}
    by_callback = file is not None and not trainer.stopping.is_saving
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint):
            state = {name: getattr(callback, name) for name in _OF_CHECKPOINTS}
            own = (callback.last_model_path, callback.best_model_path, *callback.best_k_models)
            if by_callback and os.fspath(file) in own:
                state |= {"_last_global_step_saved": trainer.global_step, "_last_checkpoint_saved": os.fspath(file)}
            states[callback.state_key] = state
    return states
