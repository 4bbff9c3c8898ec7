"""The position of a fit when a checkpoint is saved, and the counters of loops that resume from there.

Lightning's loops guess it from their counters, and go wrong at the ends of epochs. Here it is named when the checkpoint
is saved, and to resume means to do what was still to be done there.
"""

from __future__ import annotations

from typing import Any

from lighter._lightning.resume import end_restart

# by what is still to be done of the epoch
NOTHING = "between epochs"  # the next epoch is to begin
EPOCH_START = "epoch start"  # its first hooks
BATCHES = "between batches"  # the batches that are left
BATCH_END = "batch end"  # what comes after `on_train_batch_end`: a row of the log, validation
VALIDATED = "validated"  # what comes after validation
EPOCH_END = "epoch end"  # what comes after `on_train_epoch_end`: the epoch's row, schedulers on a plateau
WITHIN = (BATCHES, BATCH_END, VALIDATED)
_COUNTS = ("ready", "started", "processed", "completed")


def place_of(trainer: Any) -> str:
    loop = trainer.fit_loop
    epochs, batches = loop.epoch_progress.current, loop.epoch_loop.batch_progress.current
    if epochs.ready == epochs.completed:
        return NOTHING
    if epochs.started < epochs.ready:
        return EPOCH_START
    if epochs.processed > epochs.completed:
        return EPOCH_END
    if trainer.validating:
        return VALIDATED if loop.epoch_loop.val_loop.is_over else BATCH_END
    return BATCH_END if batches.processed > batches.completed else BATCHES


def is_begun(trainer: Any) -> bool:
    """Return whether the first hooks of an epoch or a batch run, which a fit that resumes from here calls again."""
    if trainer.validating:
        return False
    epochs, batches = trainer.fit_loop.epoch_progress.current, trainer.fit_loop.epoch_loop.batch_progress.current
    return bool(epochs.started < epochs.ready or batches.processed < batches.ready)


def settle(loop: Any, place: str) -> None:
    """Set the counters of a restored fit loop to those of a loop that has come to a position by itself."""
    epoch_loop = loop.epoch_loop
    for tracker in (loop.epoch_progress.total, loop.epoch_progress.current):
        if place == EPOCH_START:
            tracker.ready = tracker.started
        elif place == EPOCH_END:
            tracker.processed = tracker.completed
    if place in WITHIN:
        _settle_batches(epoch_loop.batch_progress, place)
    epoch_loop.scheduler_progress.reset_on_restart()
    epoch_loop.automatic_optimization.optim_progress.reset_on_restart()
    optimizations = epoch_loop.automatic_optimization, epoch_loop.manual_optimization
    end_restart(loop, epoch_loop, epoch_loop.val_loop, *optimizations)


def count_batches(progress: Any, done: int) -> None:
    """Count other batches of the epoch as trained, as other processes have trained them; the totals stay."""
    for name in _COUNTS:
        setattr(progress.current, name, done)


def _settle_batches(progress: Any, place: str) -> None:
    # the totals have batches of earlier epochs that a hook refused, so they change by as much as the epoch's
    current, total = progress.current, progress.total
    # a batch that was begun counts, or is taken back
    done = current.processed if place == BATCH_END else current.completed
    if current.ready > done:
        progress.is_last_batch = False
    for name in _COUNTS:
        setattr(total, name, getattr(total, name) - getattr(current, name) + done)
        setattr(current, name, done)
