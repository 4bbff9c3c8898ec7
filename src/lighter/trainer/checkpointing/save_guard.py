"""What a checkpoint that cannot be written does: stop the fit, or let it go on; and the earlier ones are kept.

Lightning's `ModelCheckpoint` notes a checkpoint as saved before it is, and then deletes the one whose place it takes.
So each of its saves is an attempt here: if the file cannot be written, its notes are taken back and nothing is
deleted, in all processes alike. Of a file that is written beside the training, that shows at the next save or the end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ModelCheckpoint

from lighter.errors import StorageError
from lighter.trainer.checkpointing.earlier_starts import STOPPED, LeftOver
from lighter.trainer.checkpointing.guarded_io import GuardedFiles
from lighter.trainer.checkpointing.io import CheckpointFiles
from lighter.trainer.checkpointing.training_weights import training_weights
from lighter.trainer.checkpointing.write_errors import NO_ROOM, storage_error

log = logging.getLogger("lighter.runs")

# What saves in a ModelCheckpoint, and the argument without which it does not. The first two are private: its public
# hooks save twice, and nothing is in between.
_SAVES = {
    "_save_topk_checkpoint": "save_top_k",
    "_save_last_checkpoint": "save_last",
    "on_exception": "save_on_exception",
}
_EXISTS = "file_exists"  # asked before a file is saved under a name that another may have
# What it notes of its files: the parts of its state that are about them, and two private attributes.
_NOTES = (
    "best_k_models",
    "best_model_path",
    "best_model_score",
    "current_score",
    "kth_best_model_path",
    "kth_value",
    "last_model_path",
    "_last_checkpoint_saved",
    "_last_global_step_saved",
)
_STOPS = "then lighter resume, or start again; or train without it: trainer::on_save_error=continue"
_GOES_ON = "The training goes on, and the next save tries again (on_save_error: continue)"


class Saves(Callback):
    """The saves of a trainer's fits.

    Args:
        files: what writes them; None where that is the user's or the strategy's own, which tells nothing of DDP's other
            processes.
        goes_on: whether a fit goes on without a checkpoint that cannot be written.

    Attributes:
        failed: how many saves of the last fit failed.
        left_over: what the starts before have left, if this one goes on.
    """

    def __init__(self, files: GuardedFiles | None, *, goes_on: bool) -> None:
        self.files, self.goes_on = files, goes_on
        self.failed = 0
        self.left_over = LeftOver()
        self._is_failing = self._is_attempt = self._is_under_way = False
        self._notes: _Notes | None = None  # of the callback whose checkpoint is under way
        self._taken: list[tuple[ModelCheckpoint, str, Any]] = []

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Make attempts of the saves of all checkpoint callbacks; be the last callback, there after their last save."""
        self._give_back()
        if stage != "fit":
            return
        self.failed, self._is_failing = 0, False
        self.left_over = LeftOver()
        for callback in [each for each in trainer.callbacks if isinstance(each, ModelCheckpoint)]:
            for name in [name for name, needed in _SAVES.items() if getattr(callback, needed)]:
                self._take(callback, name, partial(self._attempt, trainer, callback, getattr(callback, name)))
            self._take(callback, _EXISTS, partial(self._exists, callback.file_exists))
        trainer.callbacks = [*(callback for callback in trainer.callbacks if callback is not self), self]

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """A checkpoint of a stop says that it is one."""
        if trainer.stopping.is_saving:
            checkpoint["lighter"] = {**checkpoint.get("lighter", {}), STOPPED: True}

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """The last save is waited for."""
        self.settle(trainer)
        self._say_how_many(trainer)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The same where a fit fails."""
        self.settle(trainer)
        self._say_how_many(trainer)
        self._give_back()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """The callbacks are as they were."""
        self._give_back()

    def save(self, trainer: Any, save: Callable[[], None], path: Any) -> None:
        """Save a checkpoint. Only one of a callback's may be written beside the training: others are there afterwards.

        Args:
            save: what Lightning does for it, in all processes.
            path: the checkpoint's.

        Raises:
            StorageError: it cannot be written, and this is no fit that goes on without it.
        """
        self.settle(trainer)
        try:
            with training_weights(trainer):
                save()
        except OSError as found:
            if trainer.world_size > 1:
                raise  # another's files: the other processes do not know
            error: StorageError | None = storage_error(found, path)
        else:
            in_background = self.files is not None and self.files.background is not None
            self._is_under_way = in_background and self._is_attempt and not trainer.interrupted
            error = None if self._is_under_way else self._agreed(trainer)
        if error is not None and (self._is_attempt or not _is_fitting(trainer)):
            raise error
        if error is None:
            self.left_over.saved(path, by_callback=self._is_attempt)
        if not self._is_under_way:
            self._end(trainer, error)

    def settle(self, trainer: Any) -> None:
        """Wait for the checkpoint that is being written beside the training, if one is.

        Raises:
            StorageError: it could not be written, and the fit does not go on without it.
        """
        if not self._is_under_way:
            return
        self._is_under_way = False
        notes, self._notes = self._notes, None
        error = self._agreed(trainer)
        if error is not None and notes is not None:
            notes.take_back()
        self._end(trainer, error)

    def _attempt(self, trainer: Any, callback: ModelCheckpoint, save: Callable[..., None], *args: Any) -> None:
        if self._is_attempt:  # a part of another
            return save(*args)
        if trainer.fast_dev_run:  # Lightning saves a last one of it, if `save_last` is on
            return None
        self.settle(trainer)
        notes, self._is_attempt = _Notes(callback), True
        try:
            save(*args)
        except StorageError as error:
            notes.take_back()
            self._end(trainer, error)
        else:
            self._notes = notes if self._is_under_way else None
            self.left_over.remove_resumed(trainer, callback)
        finally:
            self._is_attempt = False
        return None

    def _exists(self, file_exists: Callable[..., bool], path: Any, trainer: Any) -> bool:
        """Return whether a name is taken: not by a file that this fit has saved before, and saves again."""
        return file_exists(path, trainer) and not self.left_over.is_free(path)

    def _agreed(self, trainer: Any) -> StorageError | None:
        """What the process that writes says of the last save; of a fit that fails, the others may not be there."""
        error = self.files.outcome() if self.files is not None else None
        if self.files is None or trainer.world_size == 1 or trainer.interrupted:
            return error
        told = trainer.strategy.broadcast((str(error), error.errno) if error is not None else None)
        return StorageError(*told) if told is not None else None

    def _end(self, trainer: Any, error: StorageError | None) -> None:
        """An attempt is over."""
        if error is not None:
            self.failed += 1
            if not (self.goes_on or trainer.interrupted):
                first = "Make room" if error.errno in NO_ROOM else "See to the disk"
                raise StorageError(f"{error}. {first}, {_STOPS}", error.errno) from error
        if trainer.is_global_zero and (error is not None) != self._is_failing:
            if error is not None:
                log.warning("%s%s", error, "" if trainer.interrupted else f". {_GOES_ON}")
            else:
                log.info("checkpoints are written again")
        self._is_failing = error is not None

    def _say_how_many(self, trainer: Any) -> None:
        if self.failed and self.goes_on and trainer.is_global_zero:
            saves = "1 save" if self.failed == 1 else f"{self.failed} saves"
            log.warning("%s of checkpoints failed in this fit", saves)

    def _take(self, callback: ModelCheckpoint, name: str, method: Callable[..., Any]) -> None:
        self._taken.append((callback, name, vars(callback).get(name)))
        setattr(callback, name, method)

    def _give_back(self) -> None:
        for callback, name, own in self._taken:
            if own is None:
                vars(callback).pop(name, None)
            else:
                setattr(callback, name, own)
        self._taken = []


class _Notes:
    """What a checkpoint callback has noted of its files, as it is now."""

    def __init__(self, callback: ModelCheckpoint) -> None:
        self._callback = callback
        self._found = {name: copy(getattr(callback, name)) for name in _NOTES}

    def take_back(self) -> None:
        """Let it have noted no more than that."""
        for name, value in self._found.items():
            setattr(self._callback, name, value)


def _is_fitting(trainer: Any) -> bool:
    return bool(trainer.state.fn == "fit" and trainer.state.status in ("running", "interrupted"))


def guard_saves(trainer: Any, *, goes_on: bool, in_background: bool) -> Saves:
    """Have a trainer's saves guarded.

    Raises:
        ValueError: they are to be written beside the training, and the user or the strategy writes them.
    """
    ours = type(trainer.strategy._checkpoint_io) is CheckpointFiles
    if in_background and not ours:
        how = type(trainer.strategy._checkpoint_io or trainer.strategy).__name__
        raise ValueError(f"async_save is for checkpoint files that Lighter writes, and here {how} does")
    files = GuardedFiles(in_background) if ours else None
    if files is not None:
        trainer.strategy.checkpoint_io = files
    return Saves(files, goes_on=goes_on)
