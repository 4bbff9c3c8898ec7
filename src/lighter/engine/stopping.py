"""Stop a run at a signal: record it, say how to resume, and let Lightning's own trainer stop as `lighter.Trainer`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import Callback, LightningModule

from lighter._lightning.versions import IS_TESTED
from lighter.engine.child_processes import failures_recorded
from lighter.errors import RunError
from lighter.files.run_folder import is_rank_zero
from lighter.launch.job import SIGNAL
from lighter.processes import signals
from lighter.processes.signals import Stopped
from lighter.runs.journal import Journal
from lighter.runs.read import is_own_job
from lighter.trainer import Trainer
from lighter.trainer.stopping.graceful import Stopping
from lighter.trainer.stopping.pause import Pause, Paused

log = logging.getLogger("lighter.runs")


@contextmanager
def stopped_by_signals(trainer: pl.Trainer, journal: Journal) -> Iterator[None]:
    """Let signals stop the trainer's method that runs within this: it raises `Stopped`, or KeyboardInterrupt."""
    if (caught := signals.current()) is not None:
        # A second signal ends the process at once: this is still called.
        caught.last_words.append(lambda: journal.fail(Stopped(caught.received or 0)))
    try:
        with failures_recorded(trainer, journal), _stopping(trainer):
            yield
    except Stopped as stopped:
        if is_rank_zero() and trainer.state.fn == "fit" and any(journal.folder.checkpoints.glob("*.ckpt")):
            is_requeued = is_own_job(journal.facts) and journal.facts["launch"]["requeue"] and stopped.signum == SIGNAL
            when = "its job is requeued and continues it; if that fails" if is_requeued else "to go on"
            log.warning("%s: lighter resume %s", when, journal.folder.path)
        raise
    except SystemExit as error:
        # Lightning makes an exit with 1 of it.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


@contextmanager
def paused_at(pause: Pause | None, trainer: pl.Trainer) -> Iterator[None]:
    """Have the fit that runs within this pause: it raises `Paused`.

    Raises:
        RunError: the trainer's loops cannot.
    """
    if pause is None:
        yield
        return
    if not isinstance(trainer, Trainer) or not IS_TESTED:
        raise RunError("only lighter.Trainer can pause a fit: trainer::_target_=lighter.Trainer, or no schedule")
    trainer.stopping.pause = pause
    trainer.callbacks.append(FinishesLoggers())
    loggers = trainer.loggers
    try:
        yield
    finally:
        trainer.loggers = loggers


class FinishesLoggers(Callback):
    """Tell the loggers that a fit which pauses is finished for now; Lightning would tell them that it has failed."""

    def on_exception(self, trainer: pl.Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, Paused):
            for logger in trainer.loggers:
                logger.finalize("finished")
            trainer.loggers = []  # Lightning tells those that it finds here after this hook


@contextmanager
def _stopping(trainer: pl.Trainer) -> Iterator[None]:
    caught = signals.current()
    if isinstance(trainer, Trainer) or caught is None or not IS_TESTED:
        yield
        return
    stopping = Stopping(trainer, trainer.default_root_dir)
    trainer.callbacks.append(StopsPlainTrainer(stopping))  # type: ignore[attr-defined]
    with caught.deferred(stopping.is_deferred), stopping.of_call():
        yield


class StopsPlainTrainer(Callback):
    """Let a trainer of Lightning's own stop as `lighter.Trainer` does, as far as hooks can do that."""

    def __init__(self, stopping: Stopping) -> None:
        self.stopping = stopping

    def on_train_start(self, trainer: pl.Trainer, pl_module: LightningModule) -> None:
        self.stopping.begin()
        # Lightning has put a handler of its own around ours by now.
        if (caught := signals.current()) is not None:
            caught.catch()

    on_validation_start = on_test_start = on_predict_start = on_train_start

    def on_predict_batch_end(self, trainer: pl.Trainer, pl_module: LightningModule, *_: Any) -> None:
        # After the writers have the batch. Lightning would predict further.
        self.stopping.after_prediction()

    def on_exception(self, trainer: pl.Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, SystemExit) and self.stopping.signum_of(exception) is not None:
            self.stopping.save()
