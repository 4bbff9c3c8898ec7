"""The processes of a distributed run stop together, wherever a signal came."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from typing import Any

import torch
from torch import distributed as dist

from lighter.processes import signals

_SECONDS = 1.0  # between two agreements, and between two looks into the store
_PATIENCE = 10.0  # how long a process that stops waits for the others to say that they stop too


class Agreement:
    """What the processes of one stage know of signals.

    Where the processes wait for each other in each batch, in training above all, they agree by a collective operation,
    and that costs waiting for the device. It is done about once a second: how many steps that is, they agree on with
    it. Where they do not, one may have more batches than another. There a process leaves at its next batch, having
    left word in the store by which the processes found each other, and they agree where they meet anyway.

    Args:
        trainer: of one of several processes.
        stage: the number of the stage in this process.

    Attributes:
        signum: the signal that they stop for, once all know of it.
        has_failed: whether this process has.
    """

    has_failed = False

    def __init__(self, trainer: Any, stage: int) -> None:
        self.signum: int | None = None
        self._device = trainer.strategy.root_device
        self._most = trainer.log_every_n_steps or 50  # steps from one agreement to the next: there, steps wait anyway
        self._rank, self._size = trainer.global_rank, trainer.world_size
        self._key, self._failure_key = f"lighter/stop/{stage}", f"lighter/failed/{stage}"
        self._store = _default_store()
        self._looked = time.monotonic()
        self._step, self._at, self._next = 0, -1, -1  # now, at the last agreement, and at the next one
        self._agreed = time.monotonic()

    def at_step(self) -> bool:
        """Called by all processes at the same batches; returns whether they stop."""
        self._step += 1
        if self.signum is None and self._step >= self._next:
            now, step = time.monotonic(), self._step
            fits = round((step - self._at) * _SECONDS / max(now - self._agreed, 1e-9))
            steps = 1 if self._at < 0 else max(1, min(fits, self._most))
            self._at, self._agreed = step, now
            self._next = step + self.agree(steps)
        return self.signum is not None

    def agree(self, steps: int = 1) -> int:
        """Called by all processes; afterwards `signum` is the same in all. Returns the least of their `steps`."""
        signum, least = self._greatest(_received() or 0, -steps)
        self.signum = signum or self.signum
        return -least

    def _greatest(self, *numbers: int) -> list[int]:
        values = torch.tensor(numbers, device=self._device)
        dist.all_reduce(values, op=dist.ReduceOp.MAX)
        return [int(value) for value in values.tolist()]

    def is_asked(self) -> bool:
        """Whether this process was told to stop, or another one as far as the store knows, asked once a second."""
        if self.signum is not None:
            return True
        if (signum := _received()) is not None:
            self._tell(self._key, signum)
        elif time.monotonic() - self._looked >= _SECONDS:
            self._looked = time.monotonic()
            signum = self.heard()
        return signum is not None

    def heard(self) -> int | None:
        """The signal of which another process has left word."""
        with suppress(Exception):  # a store that is gone tells nothing
            if self._store is not None and self._store.check([self._key]):
                return int(self._store.get(self._key))
        return None

    def tell_failure(self, error: BaseException) -> None:
        """Leave word that this process fails, before the others lose their connection to it; the first word stays."""
        text = f"process {self._rank} of {self._size} failed: {type(error).__name__}: {error}"
        with suppress(Exception):
            if self._store is not None:
                self._store.compare_set(self._failure_key, "", text)
                self._store.set(f"{self._failure_key}/{self._rank}", text)

    def failure(self) -> str | None:
        """Return the error that the first process that failed has left."""
        with suppress(Exception):
            if self._store is not None and self._store.check([self._failure_key]):
                return str(self._store.get(self._failure_key).decode())
        return None

    def have_all_failed(self) -> bool:
        """Return whether each process has left an error of its own."""
        with suppress(Exception):
            keys = [f"{self._failure_key}/{rank}" for rank in range(self._size)]
            return self._store is not None and bool(self._store.check(keys))
        return False

    def part(self) -> None:
        """Leave without an agreement: when the others have begun to leave too, or after some seconds."""
        signum = self.signum = _received() or self.heard() or signal.SIGTERM
        self._tell(self._key, signum)
        self._tell(f"{self._key}/{self._rank}", signum)
        until = time.monotonic() + _PATIENCE
        everyone = [f"{self._key}/{rank}" for rank in range(self._size)]
        with suppress(Exception):
            while self._store is not None and time.monotonic() < until and not self._store.check(everyone):
                time.sleep(0.05)

    def _tell(self, key: str, signum: int) -> None:
        with suppress(Exception):
            if self._store is not None:
                self._store.set(key, str(signum))


def is_lost_connection(error: BaseException) -> bool:
    """Return whether an operation of several processes failed, which it does when one of them is gone.

    gloo's errors have no type of their own, only the file that they come from in their text.
    """
    return isinstance(error, RuntimeError) and (isinstance(error, dist.DistError) or "gloo" in str(error).lower())


def is_peer_gone(error: BaseException) -> bool:
    """Return whether that is because another process has ended, as its operating system says."""
    return any(told in str(error) for told in ("Connection closed by peer", "Connection reset by peer", "Broken pipe"))


def _received() -> int | None:
    caught = signals.current()
    return caught.received if caught is not None else None


def _default_store() -> Any:
    """The store of the default group; None if there is none. Nothing public of torch's gives it."""
    with suppress(Exception):
        return dist.distributed_c10d._get_default_store()
    return None
