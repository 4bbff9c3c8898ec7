"""Catch the signals that end a process: raise at once, or only note the first where the running code stops by itself.

The signals are SIGINT (Ctrl-C), SIGTERM, SIGHUP and SIGUSR1; a handler of the user's is left alone. They are caught
while `stop_signals()` lasts, in the main thread, and in no child process. A second one ends the process in any case.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from lighter.processes.notebook import is_ipython
from lighter.processes.ranks import is_rank_zero

STOPS = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGINT", "SIGUSR1", "SIGTERM") if hasattr(signal, name))
# Several signals within this time are one request: `timeout` sends to the process and to its group, torchrun passes on
# what its processes were sent too, and a session that is closed sends SIGHUP and SIGTERM.
ONE_REQUEST = 0.5
_LAST_WORDS = 1.0  # seconds that a second signal leaves to the record and to the children
_NOBODYS = (signal.SIG_DFL, signal.default_int_handler)


class Stopped(SystemExit):
    """A signal stopped the process. The exit code is 128 + its number, as in a shell."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum, self.name = signum, signal.Signals(signum).name


class Interrupted(KeyboardInterrupt):
    """Ctrl-C stopped what ran, which has saved what it promises to save, and said so."""

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows of it: no frames, as nothing has failed. IPython asks for it."""
        return ["KeyboardInterrupt: stopped by Ctrl-C"]


def name_of(signum: int) -> str:
    """Return a signal's name for people: `SIGTERM`, and `Ctrl-C` for SIGINT."""
    return "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name


class StopSignals:
    """The signals that came while they were caught."""

    def __init__(self) -> None:
        self.received: int | None = None  # the first one
        self.last_words: list[Callable[[], Any]] = []  # before a second signal ends the process; they have a second
        self._since = 0.0
        self._handler = self._handle  # one object: a bound method is another one each time
        self._before: dict[int, Any] = {}
        self._has_raised = False
        self._is_ending = threading.Lock()
        self._is_deferred: Callable[[], bool] = lambda: False
        self._watcher: _Watcher | None = None

    @contextmanager
    def deferred(self, is_deferred: Callable[[], bool]) -> Iterator[None]:
        """Let a signal raise nothing within this if the running code stops by itself.

        `is_deferred` is called in the handler, between any two instructions: it may set flags, and little else.
        """
        before, self._is_deferred = self._is_deferred, is_deferred
        try:
            yield
        finally:
            self._is_deferred = before

    def raise_again(self) -> None:
        """Raise `Stopped` if a signal has come."""
        # an exception that the handler raised in C code may have been lost there
        if self.received is not None:
            self._raise(self.received)

    @contextmanager
    def prevailing(self) -> Iterator[None]:
        """Raise `Stopped` in place of whatever else fails within this after it was raised."""
        try:
            yield
        except (Exception, SystemExit) as error:
            # C code that imports a module may swallow it, and leaves the module half imported: that fails later
            if not self._has_raised or isinstance(error, Stopped):
                raise
            raise Stopped(self.received or 0) from error

    def catch(self) -> None:
        """Install the handlers where there are no others; called again, to take out Lightning's as well."""
        for signum in STOPS:
            installed = signal.getsignal(signum)
            handler: Any = installed
            # Lightning's waits for processes; it may have composed a handler of the user's with its own, which stays
            while _is_connectors(handler) and not is_lightnings(handler.signal_handlers[-1]):
                handler = handler.signal_handlers[-1]
            if handler in _NOBODYS:
                self._before[signum], handler = handler, self._handler
            if handler is not installed:
                signal.signal(signum, handler)
        if self._watcher is None:
            self._watcher = _Watcher.start_for(self._heard)

    def leave(self, signum: int) -> None:
        """Restore the handler of a signal."""
        # one that somebody has installed meanwhile stays
        if signal.getsignal(signum) is self._handler:
            signal.signal(signum, self._before[signum])

    def let_go(self) -> None:
        """Restore all handlers, and end the watching thread."""
        for signum in STOPS:
            self.leave(signum)
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and signal.SIGINT in self._before:
            # Lightning ignores Ctrl-C from an interrupt on, and would do so for the rest of the process
            signal.signal(signal.SIGINT, self._before[signal.SIGINT])
        if self._watcher is not None:
            self._watcher.end()

    def let_go_in_child(self) -> None:
        """Let a forked process end by signals as any other."""
        # the pipe is shared with the parent, whose watcher would take the child's signals for its own
        with suppress(ValueError):
            signal.set_wakeup_fd(-1)
            for signum in STOPS:
                self.leave(signum)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self._handle_again(signum)
            return
        # noted before anything else, as the next signal may come between any two of these lines
        self.received, self._since = signum, time.monotonic()
        is_deferred = self._is_deferred()
        second = "interrupts it" if signum == signal.SIGINT and _is_interactive() else "ends the process"
        after = f" after this step; a second signal {second} at once" if is_deferred else ""
        _say(f"{name_of(signum)}: stopping{after}.")
        if not is_deferred:
            self._raise(signum)

    def _raise(self, signum: int) -> None:
        self._has_raised = True
        raise Stopped(signum)

    def _handle_again(self, signum: int) -> None:
        if time.monotonic() - self._since < ONE_REQUEST:
            return
        if signum == signal.SIGINT and _is_interactive():
            raise KeyboardInterrupt
        # torch's handler raises at dead workers, which would interrupt the last words
        if hasattr(signal, "SIGCHLD"):
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._end_now(signum)

    def _heard(self, signum: int, seconds: float) -> None:
        # in the watching thread, as the main thread may be deep in a library and run no handler
        if seconds >= ONE_REQUEST and not (signum == signal.SIGINT and _is_interactive()):
            self._end_now(signum)

    def _end_now(self, signum: int) -> None:
        self._is_ending.acquire()  # for good: both threads come here, and the other one waits for the end
        code = 128 + signum
        guard = threading.Timer(_LAST_WORDS, os._exit, (code,))
        guard.daemon = True
        guard.start()
        _say(f"{name_of(signum)} again: ending now.")
        # only the children of multiprocessing are known here; who starts other processes adds to `last_words`
        for act in (_kill_children, *self.last_words):
            with suppress(Exception):
                act()
        os._exit(code)  # `sys.exit` would run the finalizers of libraries, which may wait for what hangs


_current: StopSignals | None = None


def current() -> StopSignals | None:
    """Return the object that catches signals now; None if none does."""
    return _current


def received() -> int | None:
    """Return the first signal that came since signals are caught."""
    return _current.received if _current is not None else None


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Catch the signals. Within another one, the outer one still does; in a thread, nothing does.

    Raises:
        Stopped: a signal came, and nothing within this deferred it.
        KeyboardInterrupt: the same for Ctrl-C.
    """
    global _current
    if _current is not None or threading.current_thread() is not threading.main_thread():
        caught = _current or StopSignals()
        with caught.prevailing():
            yield caught
        return
    _current = caught = StopSignals()
    try:
        caught.catch()
        with caught.prevailing():
            yield caught
    except Stopped as stopped:
        if stopped.signum == signal.SIGINT:
            raise Interrupted from Stopped(stopped.signum)  # without its long way through the loops
        raise
    finally:
        _current = None  # first: a signal may interrupt what follows
        caught.let_go()


def _in_child() -> None:
    global _current
    if _current is not None:
        _current.let_go_in_child()
        _current = None


# here, as such a hook cannot be removed; it does nothing while no signal is caught
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


class _Watcher(threading.Thread):
    """Read signals from the pipe that the signal module writes them to, as they come.

    Python's handlers wait for the main thread, which may wait for a device.
    """

    def __init__(self, heard: Callable[[int, float], None], read: int, write: int) -> None:
        super().__init__(name="lighter-signals", daemon=True)
        self._heard, self._read, self._write = heard, read, write

    @classmethod
    def start_for(cls, heard: Callable[[int, float], None]) -> _Watcher | None:
        read, write = os.pipe()
        os.set_blocking(write, False)
        before = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        if before != -1:  # a process has one such descriptor, and somebody else, asyncio say, has it
            signal.set_wakeup_fd(before)
            os.close(read)
            os.close(write)
            return None
        watcher = cls(heard, read, write)
        watcher.start()
        return watcher

    def run(self) -> None:
        first: float | None = None
        numbers = b""
        # until the zero that `end` writes: the pipe's end comes later, as forked processes hold it open
        while 0 not in numbers:
            numbers, now = os.read(self._read, 64), time.monotonic()
            for signum in (number for number in numbers if number in STOPS):
                first = now if first is None else first
                self._heard(signum, now - first)

    def end(self) -> None:
        before = signal.set_wakeup_fd(-1)
        if before not in (-1, self._write):
            signal.set_wakeup_fd(before)
        os.set_blocking(self._write, True)  # if the pipe is full, the thread is about to read
        os.write(self._write, b"\0")
        self.join()
        os.close(self._write)
        os.close(self._read)


def is_lightnings(handler: object) -> bool:
    """Return whether a handler is that of Lightning's trainer, alone or composed with an earlier one."""
    return _is_connectors(handler) or _is_connectors(getattr(handler, "__self__", None))


def _is_connectors(value: object) -> bool:
    return type(value).__module__.endswith(".trainer.connectors.signal_connector")


def _say(message: str) -> None:
    if not is_rank_zero():
        return
    with suppress(OSError):
        try:
            # not by `print`, which a handler must not call while the running code prints
            os.write(2, f"\n{message}\n".encode())
        except OSError:
            # the terminal is gone, and a progress bar that cannot be drawn must not end the run with another error
            nowhere, terminal = os.open(os.devnull, os.O_WRONLY), os.fstat(2).st_rdev
            for stream in (1, 2):
                if os.fstat(stream).st_rdev == terminal:
                    os.dup2(nowhere, stream)


def _kill_children() -> None:
    multiprocessing = sys.modules.get("multiprocessing")
    for child in multiprocessing.active_children() if multiprocessing is not None else ():
        child.kill()


def _is_interactive() -> bool:
    # a person types into this process, whose objects must not be lost
    return hasattr(sys, "ps1") or is_ipython()
