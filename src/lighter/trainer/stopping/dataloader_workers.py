"""Workers of dataloaders: the signals that stop a run are not for them, and one that died is named."""

from __future__ import annotations

import copy
import multiprocessing
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import context as processes
from typing import Any

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
    """What a worker calls when it starts, the user's own with it: the run's stop is the main process's to make.

    Ctrl-C, and SLURM or `timeout` with their signals, reach every process of a group. Those that load data go on, as
    the step that is not over may need their batches. When the loops are over, SIGTERM ends them, by which torch and
    Python end workers that are left.

    Args:
        init: the user's own.
        context: the user's own, of which the worker is a process; None for Python's default.
        is_over: shared with the main process, which sets it then.
    """

    def __init__(self, init: Callable[[int], Any] | None, context: Any, is_over: Any) -> None:
        self.init, self.context, self.is_over = init, context, is_over

    def __call__(self, worker: int) -> None:
        """In the worker."""
        for signum in signals.STOPS:
            signal.signal(signum, self._ignore)  # a function, as programs that a worker starts would inherit SIG_IGN
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.STOPS)
        if self.init is not None:
            self.init(worker)

    def _ignore(self, signum: int, frame: object) -> None:
        if signum == signal.SIGTERM and self.is_over.value:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)


def let_workers_stay(loaders: Iterable[Any]) -> None:
    """Have the workers of these dataloaders, which have not started yet, go on when a signal stops the run."""
    for loader in loaders if signals.current() is not None else ():
        if isinstance(loader, DataLoader) and loader.num_workers and type(loader.worker_init_fn) is not StaysForStop:
            context = loader.multiprocessing_context
            is_over = (context or multiprocessing).RawValue("b", 0)
            loader.worker_init_fn = StaysForStop(loader.worker_init_fn, context, is_over)
            loader.multiprocessing_context = _with_signals_waiting(context or multiprocessing.get_context())


def leave_loaders_as_they_were(trainer: Any) -> None:
    """The loops are over: the dataloaders have the user's own functions again."""
    for running in running_loaders(trainer):
        init = getattr(running.loader, "worker_init_fn", None)
        if type(init) is StaysForStop:
            init.is_over.value = 1
            running.loader.worker_init_fn = init.init
            running.loader.multiprocessing_context = init.context


def _with_signals_waiting(context: Any) -> Any:
    """A context whose processes begin with the signals waiting that stop a run, until `StaysForStop` lets them come.

    One that came earlier, while a worker is forked or imports, would end it as any process.
    """
    started = _STARTED.get(context.get_start_method())
    if started is not None:
        context = copy.copy(context)
        context.Process = started
    return context


@contextmanager
def _signals_waiting() -> Iterator[None]:
    """In this thread, and in the processes that it starts meanwhile, signals wait; in those for good."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals.STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker:
    def start(self) -> None:
        with _signals_waiting():
            super().start()  # type: ignore[misc]


_STARTED: dict[str, type] = {}
if hasattr(signal, "pthread_sigmask"):

    class ForkedWorker(_Worker, processes.ForkProcess):
        """Forked while signals wait."""

    class SpawnedWorker(_Worker, processes.SpawnProcess):
        """Spawned while signals wait."""

    _STARTED |= {"fork": ForkedWorker, "spawn": SpawnedWorker}


def is_worker_death(error: BaseException) -> bool:
    """Return whether it is torch's error of a dataloader's worker that ended by itself."""
    return _DIED.search(str(error)) is not None


def dead_worker(trainer: Any, error: BaseException) -> WorkerError | None:
    """What to say in place of an error that comes of a worker that died; None if it comes of something else.

    Torch's error tells the process. Others come where the main process reads what the worker had begun to send; then
    torch's may come while this looks, as it is raised in the handler of a signal.
    """
    try:
        return _dead_worker(trainer, error)
    except RuntimeError as torchs:
        return _dead_worker(trainer, torchs)


def _dead_worker(trainer: Any, error: BaseException) -> WorkerError | None:
    found = _DIED.search(str(error))
    until = time.monotonic() + (_DEATH_TAKES if found is None else 0)
    while True:
        for running in running_loaders(trainer):
            for number, process in enumerate(running.workers):
                if process.exitcode if found is None else process.pid == int(found[1].split(",")[0]):
                    which = f"Worker {number} of {running.loader.num_workers} of the {running.name}"
                    return _named(f"{which} (process {process.pid})", process.exitcode)
        if time.monotonic() >= until:
            return _named(f"A dataloader's worker (process {found[1]})", None) if found is not None else None
        time.sleep(0.02)


def end_workers(iterators: Iterable[Any]) -> None:
    """End what an error has left of the workers; `_shutdown_workers` is private, and torch calls it when an iterator is
    deleted, which one in an error's traceback is not.
    """
    for iterator in (one for one in iterators if not keeps_workers(one)):
        shut_down(iterator)
        for worker in workers_of(iterator):
            if worker.is_alive():
                worker.kill()  # no signal reaches it in a library's code


def _named(which: str, code: int | None) -> WorkerError:
    return WorkerError(_message(which, code), -(code or 0))


def _message(which: str, code: int | None) -> str:
    if code is None:
        return f"{which} died. {_OTHERWISE}"
    if code >= 0:
        return f"{which} ended with exit code {code}. {_OTHERWISE}"
    name = signal.Signals(-code).name
    return f"{which} was ended by {name}. {_MEANS.get(name, _OTHERWISE)}"
