"""Let the processes of a distributed run stop together, whichever of them got a signal."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytorch_lightning as pl
import torch
from torch import distributed as dist

from lighter._lightning.closures import logging_interval
from lighter._lightning.torch_internals import default_store
from lighter.processes import signals

_SECONDS = 1.0  # between two agreements, and between two looks into the store
_PATIENCE = 10.0  # seconds that a process that stops waits for the others to stop too


class Agreement:
    """The signals that the processes of one stage have heard of; `stage` is its number in this process.

    Where the processes wait for each other in each batch, in training above all, they agree by a collective operation.
    That waits for the device, so it is done about once a second, and in it they agree on how many steps that is.
    Elsewhere one process may have more batches than another: there a process leaves at its next batch, with a message
    in the store by which the processes found each other, and they agree where they meet anyway.
    """

    has_failed = False  # this process has

    def __init__(self, trainer: pl.Trainer, stage: int) -> None:
        self.signum: int | None = None  # that they stop for, once all know of it
        self._device = trainer.strategy.root_device
        self._most = logging_interval(trainer)  # steps from one agreement to the next: at these, steps wait anyway
        self._rank, self._size = trainer.global_rank, trainer.world_size
        self._store = _Messages()
        self._key, self._failure_key = f"lighter/stop/{stage}", f"lighter/failed/{stage}"
        self._looked = self._agreed = time.monotonic()
        self._step, self._agreed_at, self._next = 0, -1, -1

    def at_step(self) -> bool:
        """Count a step, and agree if it is time to, at the same batches in all processes; return whether they stop."""
        self._step += 1
        if self.signum is None and self._step >= self._next:
            now, step = time.monotonic(), self._step
            in_a_second = round((step - self._agreed_at) * _SECONDS / max(now - self._agreed, 1e-9))
            # after the first step at once again: it compiles and allocates, so its time says nothing of the others'
            steps = 1 if self._agreed_at < 0 else max(1, min(in_a_second, self._most))
            self._agreed_at, self._agreed = step, now
            self._next = step + self.agree(steps)
        return self.signum is not None

    def agree(self, steps: int = 1) -> int:
        """Let all processes have the same `signum`. A collective operation; returns the least of their `steps`."""
        # one operation for both: the greatest of the signals, and of -steps, the least of which all can keep
        values = torch.tensor([signals.received() or 0, -steps], device=self._device)
        dist.all_reduce(values, op=dist.ReduceOp.MAX)
        signum, most = values.tolist()
        self.signum = signum or self.signum
        return int(-most)

    def is_asked(self) -> bool:
        """Return whether this process was told to stop, or another one."""
        if self.signum is not None:
            return True
        if (signum := signals.received()) is not None:
            self._store.put(self._key, str(signum))
        # a look into the store is a message to another process
        elif time.monotonic() - self._looked >= _SECONDS:
            self._looked = time.monotonic()
            signum = self.heard()
        return signum is not None

    def heard(self) -> int | None:
        """Return the signal of which another process has left a message."""
        text = self._store.get(self._key)
        return int(text) if text is not None else None

    def leave(self) -> None:
        """Leave without an agreement: when the others have begun to leave too, or after some seconds."""
        signum = self.signum = signals.received() or self.heard() or signal.SIGTERM
        self._store.put(self._key, str(signum))
        self._store.put(f"{self._key}/{self._rank}", str(signum))
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and self._store.has(self._of_all(self._key)) is False:
            time.sleep(0.05)

    def tell_failure(self, error: BaseException) -> None:
        # before the others lose their connection to this process; the first error stays
        text = f"process {self._rank} of {self._size} failed: {type(error).__name__}: {error}"
        self._store.put(self._failure_key, text, replace=False)
        self._store.put(f"{self._failure_key}/{self._rank}", text)

    def failure(self) -> str | None:
        return self._store.get(self._failure_key)

    def have_all_failed(self) -> bool:
        return self._store.has(self._of_all(self._failure_key)) is True

    def _of_all(self, key: str) -> list[str]:
        return [f"{key}/{rank}" for rank in range(self._size)]


class _Messages:
    # a store that is gone says nothing, hence the suppressed errors: the process that has it may have ended

    def __init__(self) -> None:
        self._store: Any = None
        with suppress(Exception):  # private: nothing public gives the default group's store
            self._store = default_store()

    def put(self, key: str, text: str, *, replace: bool = True) -> None:
        with suppress(Exception):
            if self._store is not None and replace:
                self._store.set(key, text)
            elif self._store is not None:
                self._store.compare_set(key, "", text)

    def get(self, key: str) -> str | None:
        with suppress(Exception):
            if self._store is not None and self._store.check([key]):
                return str(self._store.get(key).decode())
        return None

    def has(self, keys: Sequence[str]) -> bool | None:
        with suppress(Exception):
            return self._store.check(list(keys)) if self._store is not None else None
        return None


def is_lost_connection(error: BaseException) -> bool:
    # gloo's errors have no type of their own, only the file that they come from in their text
    return isinstance(error, RuntimeError) and (isinstance(error, dist.DistError) or "gloo" in str(error).lower())


def is_peer_gone(error: BaseException) -> bool:
    # as the operating system says; other lost connections are time-outs, which say nothing of a peer
    return any(told in str(error) for told in ("Connection closed by peer", "Connection reset by peer", "Broken pipe"))
