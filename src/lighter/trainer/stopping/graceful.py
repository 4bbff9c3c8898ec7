"""A trainer that a signal tells to stop: it stops after the batch, saves, and ends with the signal's exit code."""

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

from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import distributed as dist
from torch.multiprocessing.spawn import ProcessExitedException

from lighter._lightning.dataloaders import forget_unbegun_fetchers, running_loaders
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

log = logging.getLogger("lighter.runs")
_CHILDREN_HAVE = {True: 30.0, False: 2.0}  # seconds to end, by whether they know that they are to stop
_WORD_TAKES = 0.3  # seconds within which a signal to a group of processes has reached all of them


class Stopping:
    """What a trainer knows of stopping, in one process.

    Args:
        folder: where its checkpoints are, in `checkpoints`; None if its callbacks say that.

    Attributes:
        folder: the same.
        is_saving: whether the checkpoint that is being saved is that of a stop.
    """

    def __init__(self, trainer: Any, folder: str | Path | None) -> None:
        self._trainer, self.folder = trainer, folder
        self.is_saving = False
        self._stage, self._has_begun = 0, False
        self._agreement: Agreement | None = None
        self._children: list[Any] = []
        self._iterators: list[Any] = []
        self._outcome = ""

    @property
    def signum(self) -> int | None:
        """The signal that came, here or in a process that this one has agreed with."""
        caught = signals.current()
        agreed = self._agreement.signum if self._agreement is not None else None
        return agreed or (caught.received if caught is not None else None)

    def signum_of(self, error: BaseException | None) -> int | None:
        """The same; SIGTERM where only Lightning's own handler has heard of it, which ends the loops with no code."""
        if self.signum is None and self._trainer.received_sigterm and isinstance(error, SystemExit):
            return signal.SIGTERM if error.code is None else None
        return self.signum

    def failure(self) -> str | None:
        """The error of another process, as far as that has left word."""
        return self._agreement.failure() if self._agreement is not None else None

    def begin(self, loaders: Any = None) -> None:
        """The loops have their dataloaders, whose workers are about to start, and stop by themselves from now on."""
        caught = signals.current()
        if caught is not None and not self._has_begun and self._agreement is None:
            caught.raise_again()
        self._has_begun = True
        if loaders is not None:
            let_workers_stay(loaders.flattened)

    def agree(self) -> None:
        """Before a training batch, in all processes: if they agree to stop, they do so after this one."""
        if self._agreement is not None and self._agreement.at_step():
            tell_to_stop(self._trainer)

    def leaves_loader(self) -> bool:
        """Whether one of several processes was told to stop: the rest of an evaluation's batches is left out."""
        if self._agreement is None:
            return False
        if meet_in_each_batch(self._trainer):
            self.agree()
            return False
        return self._agreement.is_asked()

    def agree_after_loader(self) -> None:
        """After a dataloader of an evaluation, in all processes.

        Raises:
            SIGTERMException: they stop.
        """
        if self._agreement is not None:
            self._agreement.agree()
            if self._agreement.signum is not None:
                tell_to_stop(self._trainer)
                raise SIGTERMException

    def after_prediction(self) -> None:
        """After a batch of a prediction, of which one process may have more than another.

        Raises:
            SIGTERMException: this process was told to stop, or another one was.
        """
        if self._agreement is not None and meet_in_each_batch(self._trainer):
            self.agree()
        elif self._agreement is not None and self._agreement.is_asked():
            self._let_children_end()
            self._agreement.part()
            raise SIGTERMException
        if self._trainer.received_sigterm:
            raise SIGTERMException

    @contextmanager
    def of_call(self) -> Iterator[None]:
        """While `fit`, `validate`, `test` or `predict` is called, in the process that calls it.

        Raises:
            Stopped: a signal came.
        """
        caught = signals.current()
        if caught is not None:
            caught.last_words.append(self._kill_children)
            if (theirs := requeue_signal(self._trainer)) is not None:
                caught.leave(theirs)
        self._outcome = ""
        try:
            with self._without_workers_left():
                yield
        except SystemExit as error:
            self._end(error)
            raise
        except Exception as error:
            is_of_several = self._agreement is not None or self._children or child_processes(self._trainer)
            if is_of_several and isinstance(error, (RuntimeError, ProcessExitedException)):
                self._end(error)  # the others have gone while this one waited for them
            self._end_waiting_children()
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
        """While the loops run.

        Raises:
            SIGTERMException: they have stopped, and what has to be saved is saved.
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
        caught.catch()  # again: Lightning has put its own handler before what was there
        with caught.deferred(self.is_deferred):
            try:
                yield
                self._agree_at_end()
            except SIGTERMException:
                self.save()
                raise
            except (RuntimeError, OSError, EOFError) as error:
                self._on_failure(error)
                self._tell_failure(error)
                raise
            except Exception as error:
                self._tell_failure(error)
                raise
            finally:
                leave_loaders_as_they_were(trainer)
                leave_handlers(trainer)
                forget_unbegun_fetchers(trainer)
                self._iterators = [one for running in running_loaders(trainer) for one in running.iterators]

    def is_deferred(self) -> bool:
        """In the handler of a signal: whether the loops stop by themselves. Several processes have to agree first.

        Where they are Lightning's own trainer's, all of them do what the first one is told.
        """
        is_fit, trainer = self._trainer.state.fn == "fit", self._trainer
        if self._has_begun and self._agreement is None and (trainer.is_global_zero or not is_fit):
            tell_to_stop(trainer)
        return self._agreement is not None or self._has_begun

    def _agree_at_end(self) -> None:
        if self._agreement is not None and self._trainer.state.fn != "predict":
            self._agreement.agree()

    def save(self) -> None:
        """The loops have stopped: save the fit, in all processes."""
        self._let_children_end()
        self.is_saving = True
        try:
            self._outcome = save_at_stop(self._trainer, self.folder)
        finally:
            self.is_saving = False

    def _tell_failure(self, error: Exception) -> None:
        """Let the other processes know, or know from them why this one lost its connection.

        Raises:
            ProcessError: another one failed before.
        """
        if self._agreement is None:
            return
        self._agreement.has_failed = True
        if not is_lost_connection(error):
            self._agreement.tell_failure(error)
        elif self.signum is None and (failure := self._agreement.failure() or _unknown_failure(error)):
            raise ProcessError(failure) from error

    def _on_failure(self, error: Exception) -> None:
        """A worker of a dataloader that died is named; if a signal ended it and stops the run too, that is the stop."""
        worker = dead_worker(self._trainer, error)
        if worker is None:
            return
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
        self._wait_for_children(signum)
        raise Stopped(signum) from cause

    def _let_children_end(self) -> None:
        """Lightning kills this process when one that it started ends with an error, and the code of a stop is one."""
        self._children = self._children or child_processes(self._trainer)
        let_children_end(self._trainer)

    def _wait_for_children(self, signum: int) -> None:
        know = bool(self._children)
        children = self._children or child_processes(self._trainer)
        for child in children if not know else ():
            with suppress(OSError):
                child.send_signal(signum)
        until = time.monotonic() + _CHILDREN_HAVE[know]
        while any(child.poll() is None for child in children) and time.monotonic() < until:
            time.sleep(0.02)
        self._kill_children()

    def _end_waiting_children(self) -> None:
        """After a failure of the loops in this process: those that have not failed wait for it, and would for long.

        They would complain of it too, when its connections close. Where all have failed, a script may go on.
        """
        agreement, children = self._agreement, child_processes(self._trainer)
        if agreement is None or not agreement.has_failed or not children:
            return
        until = time.monotonic() + _CHILDREN_HAVE[False]
        while any(child.poll() is None for child in children) and time.monotonic() < until:
            if agreement.have_all_failed():
                return
            time.sleep(0.02)
        self._let_children_end()
        self._kill_children()

    def _kill_children(self) -> None:
        for child in self._children or child_processes(self._trainer):
            with suppress(OSError):
                child.kill()


def stops_cleanly(method: Callable[..., Any]) -> Callable[..., Any]:
    """One of Lightning's entry points that ends as a signalled program does.

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


def save_at_stop(trainer: Any, folder: str | Path | None) -> str:
    """Save a fit that stops between two batches, in a validation or between two epochs, in all of its processes.

    Returns:
        how far it is, and what was saved or why nothing was: the rest of a sentence.
    """
    if trainer.state.fn != "fit":
        return ""
    if trainer.sanity_checking:
        return " before the training began: nothing to save"
    where = f" in epoch {trainer.current_epoch + 1}, after {trainer.global_step} steps"
    path = _last_checkpoint(trainer, folder)
    if path is None or trainer.fast_dev_run:
        return f"{where}: nothing saved, as checkpoints are off"
    progress = trainer.fit_loop.epoch_loop.batch_progress.total
    if progress.ready != progress.completed:
        return f"{where}, within a batch: nothing saved"
    if trainer.is_global_zero and (disk := on_disk(path)) is not None and disk.is_symlink():
        disk.unlink()  # ModelCheckpoint(save_last="link"): what it links to stays as it is
    before = identity(path)
    try:
        trainer.save_checkpoint(path, weights_only=False)
    except StorageError as error:  # which names the file
        return f"{where}. {error}"
    except Exception as error:  # noqa: BLE001  whatever it is, the process has to end, with the code of a stop
        return f"{where}: {path} could not be saved ({type(error).__name__}: {error})"
    if identity(path) == before:  # `on_save_error: continue`, or weights that are not finite: a warning has said why
        return f"{where}: {path} is not saved"
    return f"{where}; saved {path}"


def _unknown_failure(error: Exception) -> str:
    """Describe the failure of a process that left no error: it was killed, or it is the one that keeps the errors."""
    gone = (
        "another process ended, and this one cannot go on without it. Its own last lines say why, unless it was killed"
    )
    return gone if is_peer_gone(error) else ""


def _last_checkpoint(trainer: Any, folder: str | Path | None) -> str | None:
    """Where a stop saves: `last.ckpt` in the run's folder, or else where a callback saves; None if none does."""
    places = [getattr(callback, "dirpath", None) for callback in trainer.checkpoint_callbacks]
    if not places:
        return None
    place = os.path.join(folder, CHECKPOINTS) if folder is not None else next(filter(None, places), None)
    return os.path.join(place, LAST) if place is not None else None
