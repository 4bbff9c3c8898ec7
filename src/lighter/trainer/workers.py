"""Workers of dataloaders: the signals that stop a run are not for them, and one that died is named."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable
from typing import Any

from torch.utils.data import DataLoader

from lighter import signals
from lighter.errors import WorkerError
from lighter.trainer.lightning import running_loaders

_DIED = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)")
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
    the step that is not over may need their batches; the main process ends them. Only the first SIGTERM is taken so:
    torch ends workers that hang by another one.
    """

    def __init__(self, init: Callable[[int], Any] | None) -> None:
        self.init = init

    def __call__(self, worker: int) -> None:
        """In the worker."""
        for signum in signals.STOPS:
            if signum != signal.SIGTERM:
                signal.signal(signum, _ignore)
        signal.signal(signal.SIGTERM, _ignore_once)
        if self.init is not None:
            self.init(worker)


def _ignore(signum: int, frame: object) -> None:
    """A function, as programs that a worker starts would inherit SIG_IGN."""


def _ignore_once(signum: int, frame: object) -> None:
    signal.signal(signum, signal.SIG_DFL)


def let_workers_stay(loaders: Iterable[Any]) -> None:
    """Have the workers of these dataloaders, which have not started yet, go on when a signal stops the run."""
    for loader in loaders if signals.current() is not None else ():
        if isinstance(loader, DataLoader) and loader.num_workers and type(loader.worker_init_fn) is not StaysForStop:
            loader.worker_init_fn = StaysForStop(loader.worker_init_fn)


def leave_loaders_as_they_were(trainer: Any) -> None:
    """The dataloaders have the user's own functions again."""
    for running in running_loaders(trainer):
        init = getattr(running.loader, "worker_init_fn", None)
        if type(init) is StaysForStop:
            running.loader.worker_init_fn = init.init


def dead_worker(trainer: Any, error: BaseException) -> WorkerError | None:
    """What to say in place of torch's error about a worker that died; None if the error is about something else."""
    found = _DIED.search(str(error)) if isinstance(error, RuntimeError) else None
    if found is None:
        return None
    pid = int(found[1].split(",")[0])
    for running in running_loaders(trainer):
        for number, process in enumerate(running.workers):
            if process.pid == pid:
                which = f"Worker {number} of {running.loader.num_workers} of the {running.name} (process {pid})"
                return WorkerError(_message(which, process.exitcode), -(process.exitcode or 0))
    return WorkerError(_message(f"A dataloader's worker (process {pid})", None))


def _message(which: str, code: int | None) -> str:
    if code is None:
        return f"{which} died. {_OTHERWISE}"
    if code >= 0:
        return f"{which} ended with exit code {code}. {_OTHERWISE}"
    name = signal.Signals(-code).name
    return f"{which} was ended by {name}. {_MEANS.get(name, _OTHERWISE)}"
