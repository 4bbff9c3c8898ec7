"""Workers of dataloaders: signals that stop a run leave them running, and one that died is named."""

from __future__ import annotations

import copy
import multiprocessing
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import context as processes
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from lighter._lightning.dataloaders import keeps_workers, running_loaders, shut_down, workers_of
from lighter.errors import WorkerError
from lighter.processes import signals

_DIED = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")
_DEATH_TAKES = 0.3  # seconds until a process that died is known to have
_MEANS = {
    "SIGKILL": "Something outside killed it: usually the kernel, when the memory was used up (`dmesg` tells), or a"
    " cluster, when the job took more than it had asked for. Fewer workers (num_workers), smaller batches or a smaller"
    " prefetch_factor need less memory.",
    "SIGBUS": "Usually the shared memory is full (/dev/shm; in a container 64 MiB, unless --shm-size asks for more)."
    " Fewer workers (num_workers) and smaller batches need less of it.",
    "SIGSEGV": "Compiled code crashed: some library that the dataset uses, perhaps one that does not bear a fork"
    " (multiprocessing_context=spawn does without).",
}
_OTHERWISE = "With num_workers=0 the same code runs in the main process, where its error is seen."


class StaysForStop:
    """A worker's init function: the user's own, and the signals that stop a run ignored.

    Ctrl-C, and SLURM or `timeout` with their signals, reach every process of a group. Those that load data stay, as
    the step that is not over may need their batches. When the loops are over, SIGTERM ends them, by which torch and
    Python end workers that are left.
    """

    def __init__(self, init: Callable[[int], None] | None, context: BaseContext | None, is_over: Any) -> None:
        self.init, self.context = init, context  # the user's own, to be given back
        self.is_over = is_over  # shared with the main process, which sets it when the loops are over

    # not earlier in the process: torch puts a handler for SIGTERM there before it calls this
    def __call__(self, worker: int) -> None:
        for signum in signals.STOPS:
            # by a function, as programs that a worker starts would inherit SIG_IGN
            signal.signal(signum, self._ignore)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.STOPS)
        if self.init is not None:
            self.init(worker)

    def _ignore(self, signum: int, frame: object) -> None:
        if signum == signal.SIGTERM and self.is_over.value:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)


def let_workers_stay(loaders: Iterable[object]) -> None:
    # the loaders have not started yet: a worker gets its init function with its process
    for loader in loaders if signals.current() is not None else ():
        if isinstance(loader, DataLoader) and loader.num_workers and type(loader.worker_init_fn) is not StaysForStop:
            context = loader.multiprocessing_context
            is_over = (context or multiprocessing).RawValue("b", 0)
            loader.worker_init_fn = StaysForStop(loader.worker_init_fn, context, is_over)
            loader.multiprocessing_context = _with_signals_waiting(context or multiprocessing.get_context())


def leave_loaders_as_they_were(trainer: pl.Trainer) -> None:
    # the functions are the user's own, who may use the loaders elsewhere
    for running in running_loaders(trainer):
        init = getattr(running.loader, "worker_init_fn", None)
        if type(init) is StaysForStop:
            init.is_over.value = 1
            running.loader.worker_init_fn = init.init
            running.loader.multiprocessing_context = init.context


def _with_signals_waiting(context: Any) -> Any:
    # a signal that came while a worker is forked or imports would end it as any process. Its process is born with
    # the signals blocked that stop a run, until `StaysForStop` runs
    if (process := _PROCESSES.get(context.get_start_method())) is not None:
        context = copy.copy(context)
        context.Process = process
    return context


_PROCESSES: dict[str, type] = {}
if hasattr(signal, "pthread_sigmask"):

    @contextmanager
    def _signals_blocked() -> Iterator[None]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.STOPS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    class _Born(BaseProcess):
        def start(self) -> None:
            with _signals_blocked():
                super().start()

    class ForkedWorker(_Born, processes.ForkProcess):
        """Forked while signals are blocked, which it inherits."""

    class SpawnedWorker(_Born, processes.SpawnProcess):
        """Spawned while signals are blocked, which it inherits."""

    _PROCESSES |= {"fork": ForkedWorker, "spawn": SpawnedWorker}


def is_worker_death(error: BaseException) -> bool:
    return _DIED.search(str(error)) is not None


def dead_worker(trainer: pl.Trainer, error: BaseException) -> WorkerError | None:
    """Return the error to raise in place of one that comes of a dead worker; None if it comes of something else."""
    # torch's error tells the process. Others come where the main process reads a batch that the worker had begun to
    # send; then torch's may come while this looks, as it is raised in the handler of a signal
    try:
        return _dead_worker(trainer, error)
    except RuntimeError as torchs:
        return _dead_worker(trainer, torchs)


def _dead_worker(trainer: pl.Trainer, error: BaseException) -> WorkerError | None:
    named = _DIED.search(str(error))
    until = time.monotonic() + (_DEATH_TAKES if named is None else 0)
    while True:
        for running in running_loaders(trainer):
            for number, process in enumerate(running.workers):
                if process.exitcode if named is None else process.pid == int(named[1].split(",")[0]):
                    which = f"Worker {number} of {running.loader.num_workers} of the {running.name}"
                    return _worker_error(f"{which} (process {process.pid})", process.exitcode)
        if time.monotonic() >= until:
            return _worker_error(f"A dataloader's worker (process {named[1]})", None) if named is not None else None
        time.sleep(0.02)


def _worker_error(which: str, code: int | None) -> WorkerError:
    if code is None:
        message = f"{which} died. {_OTHERWISE}"
    elif code >= 0:
        message = f"{which} ended with exit code {code}. {_OTHERWISE}"
    else:
        name = signal.Signals(-code).name
        message = f"{which} was ended by {name}. {_MEANS.get(name, _OTHERWISE)}"
    return WorkerError(message, -(code or 0))


def end_workers(iterators: Iterable[Any]) -> None:
    # torch does so when an iterator is deleted, which one in a traceback is not
    for iterator in (one for one in iterators if not keeps_workers(one)):
        shut_down(iterator)
        for worker in workers_of(iterator):
            if worker.is_alive():
                worker.kill()  # no signal reaches it in a library's code
