"""Stop a trainer after the batch in which a signal came, save the fit, and end with the signal's exit code.

All that a signal does to a trainer is in this one file, which is why it is longer than others.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import distributed as dist
from torch.multiprocessing.spawn import ProcessExitedException

from lighter._lightning.dataloaders import forget_unbegun_fetchers, running_loaders
from lighter._lightning.saves import is_fast_dev_run
from lighter._lightning.signals import (
    child_processes,
    leave_handlers,
    let_children_end,
    meet_in_each_batch,
    requeue_signal,
    tell_to_stop,
)
from lighter.errors import ProcessError, StorageError
from lighter.files.run_folder import CHECKPOINTS, LAST, is_rank_zero
from lighter.files.storage import identity, on_disk
from lighter.lightning_alias import refuse_second_copies
from lighter.processes import signals
from lighter.processes.signals import Stopped
from lighter.trainer.stopping.agreement import Agreement, is_lost_connection, is_peer_gone
from lighter.trainer.stopping.dataloader_workers import (
    dead_worker,
    end_workers,
    leave_loaders_as_they_were,
    let_workers_stay,
)
from lighter.trainer.stopping.pause import Pause, Paused

log = logging.getLogger("lighter.runs")
_TOLD, _UNTOLD = 30.0, 2.0  # seconds that child processes have to end, by whether they know that they are to stop
_WORD_TAKES = 0.3  # seconds within which a signal to a group of processes has reached all of them
_GONE = "another process ended, and this one cannot go on without it. Its own last lines say why, unless it was killed"


class Stopping:
    """Stop the stages of a trainer, in one process.

    The trainer is ours, or Lightning's own as far as callbacks can call this. `folder` is where its checkpoints are,
    in `checkpoints`; None if its callbacks say that.
    """

    def __init__(self, trainer: pl.Trainer, folder: str | Path | None) -> None:
        self._trainer, self.folder = trainer, folder
        self.is_saving = False  # while the checkpoint is saved that is that of a stop
        self.pause: Pause | None = None  # where the fit is to pause
        self.is_pausing = False  # once it is there
        self._stage, self._has_begun = 0, False
        self._agreement: Agreement | None = None
        self._children = _Children(trainer)
        self._iterators: list[Any] = []
        self._outcome = ""

    @property
    def signum(self) -> int | None:
        """The signal that came, here or in a process that this one has agreed with."""
        agreed = self._agreement.signum if self._agreement is not None else None
        return agreed or signals.received()

    def signum_of(self, error: BaseException | None) -> int | None:
        """Return the signal that an error is due to."""
        # Lightning's own handler may be the only one that has heard of it
        if self.signum is None and self._trainer.received_sigterm and isinstance(error, SystemExit):
            return signal.SIGTERM if error.code is None else None
        return self.signum

    def failure(self) -> str | None:
        return self._agreement.failure() if self._agreement is not None else None

    def begin(self, loaders: CombinedLoader | None = None) -> None:
        caught = signals.current()
        # a signal of the setup whose exception C code has swallowed: from here on the loops stop by themselves
        if caught is not None and not self._has_begun and self._agreement is None:
            caught.raise_again()
        self._has_begun = True
        if loaders is not None:
            let_workers_stay(loaders.flattened)

    def agree(self) -> None:
        """Agree before a training batch, in all processes: if they stop, they do so after this batch."""
        if self._agreement is not None and self._agreement.at_step():
            tell_to_stop(self._trainer)

    def leaves_loader(self) -> bool:
        """Return whether to leave out the rest of an evaluation's batches, as one of several processes stops."""
        if self._agreement is None:
            return False
        if meet_in_each_batch(self._trainer):
            self.agree()
            return False
        return self._agreement.is_asked()

    def agree_after_loader(self) -> None:
        """Agree after a dataloader of an evaluation, in all processes.

        Raises:
            SIGTERMException: they stop.
        """
        if self._agreement is not None:
            self._agreement.agree()
            if self._agreement.signum is not None:
                tell_to_stop(self._trainer)
                raise SIGTERMException

    def after_prediction(self) -> None:
        """Stop after a batch of a prediction, if a signal came to any process.

        Raises:
            SIGTERMException: one did.
        """
        if self._agreement is not None and meet_in_each_batch(self._trainer):
            self.agree()
        # one process may have more batches than another, so they cannot agree here
        elif self._agreement is not None and self._agreement.is_asked():
            self._children.let_end()
            self._agreement.leave()
            raise SIGTERMException
        if self._trainer.received_sigterm:
            raise SIGTERMException

    @contextmanager
    def of_call(self) -> Iterator[None]:
        """Catch signals while `fit`, `validate`, `test` or `predict` is called, in the process that calls it.

        Raises:
            Stopped: a signal came.
        """
        caught = signals.current()
        if caught is not None:
            caught.last_words.append(self._children.kill)
            # the user asked Lightning to requeue the job at that signal, which saves and does not stop
            if (lightnings := requeue_signal(self._trainer)) is not None:
                caught.leave(lightnings)
        self._outcome = ""
        try:
            with self._without_workers_left():
                yield
        except SystemExit as error:
            self._end(error)
            raise
        except Exception as error:
            is_of_several = self._agreement is not None or self._children.all
            if is_of_several and isinstance(error, (RuntimeError, ProcessExitedException)):
                self._end(error)  # the others have gone while this one waited for them
            if self._agreement is not None and self._agreement.has_failed:
                self._children.end_waiting(self._agreement)
            raise
        self._end(None)

    @contextmanager
    def _without_workers_left(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            end_workers(self._iterators)
            raise
        finally:
            self._iterators = []

    @contextmanager
    def of_stage(self) -> Iterator[None]:
        """Stop while the loops run.

        Raises:
            SIGTERMException: they have stopped, and the fit is saved.
            WorkerError: a worker of a dataloader died.
            ProcessError: another process failed.
        """
        trainer, caught = self._trainer, signals.current()
        self._stage, self._has_begun = self._stage + 1, False
        several = trainer.world_size > 1 and dist.is_available() and dist.is_initialized()
        self._agreement = Agreement(trainer, self._stage) if several else None
        if caught is None:
            yield
            return
        caught.catch()  # again: Lightning has put its own handler before ours
        with caught.deferred(self.is_deferred):
            try:
                yield
                if self._agreement is not None and trainer.state.fn != "predict":
                    self._agreement.agree()
            except SIGTERMException as error:
                self.is_pausing = isinstance(error, Paused)
                self.save()
                raise
            except Exception as error:
                if isinstance(error, (RuntimeError, OSError, EOFError)):
                    self._name_dead_worker(error)
                self._tell_failure(error)
                raise
            finally:
                leave_loaders_as_they_were(trainer)
                # Lightning restores the handlers of before, also over those that the user's hooks have installed
                leave_handlers(trainer)
                forget_unbegun_fetchers(trainer)
                self._iterators = [one for running in running_loaders(trainer) for one in running.iterators]

    def is_deferred(self) -> bool:
        """Return, in the handler of a signal, whether the loops stop by themselves."""
        # several processes agree first; where they are those of Lightning's own trainer, all of them do what the first
        # one is told
        is_fit, trainer = self._trainer.state.fn == "fit", self._trainer
        if self._has_begun and self._agreement is None and (trainer.is_global_zero or not is_fit):
            tell_to_stop(trainer)
        return self._agreement is not None or self._has_begun

    def save(self) -> None:
        """Save the fit once the loops have stopped, in all processes."""
        # before saving: another process may be done with it first, and Lightning would kill this one for its exit code
        self._children.let_end()
        self.is_saving = True
        try:
            self._outcome = save_at_stop(self._trainer, self.folder)
        finally:
            self.is_saving = False

    def _tell_failure(self, error: Exception) -> None:
        """Tell the other processes, or learn from them why this one lost its connection."""
        if self._agreement is None:
            return
        self._agreement.has_failed = True
        if not is_lost_connection(error):
            self._agreement.tell_failure(error)
        elif self.signum is None and (failure := self.failure() or (_GONE if is_peer_gone(error) else None)):
            raise ProcessError(failure) from error

    def _name_dead_worker(self, error: Exception) -> None:
        # if a signal ended the worker and stops the run too, that is the stop
        if (worker := dead_worker(self._trainer, error)) is None:
            return
        # a signal to the whole group may reach a worker, which dies of it, before this process
        until = time.monotonic() + _WORD_TAKES
        while self.signum is None and worker.signum in signals.STOPS and time.monotonic() < until:
            time.sleep(0.01)
        if self.signum is None:
            raise worker from error
        if self._agreement is None:
            self.save()
        raise SIGTERMException from error

    def _end(self, cause: BaseException | None) -> None:
        signum = self.signum_of(cause) or (self._agreement.heard() if self._agreement is not None else None)
        if signum is None:
            return
        if is_rank_zero():
            log.warning("stopped by %s%s", signals.name_of(signum), self._outcome)
        self._children.stop(signum)
        raise Stopped(signum) from cause


class _Children:
    """The processes of other ranks that this one has started."""

    def __init__(self, trainer: pl.Trainer) -> None:
        self._trainer = trainer
        self._told: list[Any] = []

    @property
    def all(self) -> list[Any]:
        return self._told or child_processes(self._trainer)

    def let_end(self) -> None:
        # with the code of a stop: Lightning would kill this process for that
        self._told = self.all
        let_children_end(self._trainer)

    def stop(self, signum: int) -> None:
        # those that were told to stop end by themselves, after saving
        for child in self.all if not self._told else ():
            with suppress(OSError):
                child.send_signal(signum)
        self._wait(_TOLD if self._told else _UNTOLD)
        self.kill()

    def end_waiting(self, agreement: Agreement) -> None:
        # when the connections of this process close, those that wait for it would complain. Where all have failed,
        # a script may continue
        if self.all and not self._wait(_UNTOLD, agreement.have_all_failed):
            self.let_end()
            self.kill()

    def _wait(self, seconds: float, is_over: Callable[[], bool] = lambda: False) -> bool:
        # true if something else was over before they had ended
        until = time.monotonic() + seconds
        while any(child.poll() is None for child in self.all) and time.monotonic() < until:
            if is_over():
                return True
            time.sleep(0.02)
        return False

    def kill(self) -> None:
        for child in self.all:
            with suppress(OSError):
                child.kill()


def stops_cleanly(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make one of Lightning's entry points end as a signalled program does.

    Raises:
        Stopped: SIGTERM, SIGHUP or SIGUSR1 came: a `SystemExit` with the code 128 + n.
        KeyboardInterrupt: Ctrl-C did.
        ModuleTypeError: the module or the data is of a second copy of Lightning.
    """

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_second_copies((*args, *kwargs.values()))
        with signals.stop_signals(), self.stopping.of_call():
            return method(self, *args, **kwargs)

    return call


def save_at_stop(trainer: pl.Trainer, folder: str | Path | None) -> str:
    """Save a fit that stops between two batches, in a validation or between two epochs, in all of its processes.

    Returns:
        how far it is, and the file that was saved or why none was: the rest of a sentence.
    """
    if trainer.state.fn != "fit":
        return ""
    if trainer.sanity_checking:
        return " before the training began: nothing to save"
    progress_so_far = f" in epoch {trainer.current_epoch + 1}, after {trainer.global_step} steps"
    path = _last_checkpoint(trainer, folder)
    if path is None or is_fast_dev_run(trainer):
        return f"{progress_so_far}: nothing saved, as checkpoints are off"
    batches = trainer.fit_loop.epoch_loop.batch_progress.total
    if batches.ready != batches.completed:
        return f"{progress_so_far}, within a batch: nothing saved"
    if trainer.is_global_zero and (disk := on_disk(path)) is not None and disk.is_symlink():
        disk.unlink()  # ModelCheckpoint(save_last="link"): the file that it links to stays as it is
    before = identity(path)
    try:
        trainer.save_checkpoint(path, weights_only=False)
    except StorageError as error:  # which names the file
        return f"{progress_so_far}. {error}"
    except Exception as error:  # noqa: BLE001  whatever it is, the process has to end with the code of a stop
        return f"{progress_so_far}: {path} could not be saved ({type(error).__name__}: {error})"
    if identity(path) == before:  # `on_save_error: continue`, or weights with NaN or Inf: a warning has said why
        return f"{progress_so_far}: {path} is not saved"
    return f"{progress_so_far}; saved {path}"


def _last_checkpoint(trainer: pl.Trainer, folder: str | Path | None) -> str | None:
    folders = [getattr(callback, "dirpath", None) for callback in trainer.checkpoint_callbacks]
    if not folders:
        return None
    chosen = os.path.join(folder, CHECKPOINTS) if folder is not None else next(filter(None, folders), None)
    return os.path.join(chosen, LAST) if chosen is not None else None
