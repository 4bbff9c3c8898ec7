"""Events of a run, for programs: any layer publishes them, and the record of the run writes them down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Listener(Protocol):
    """Take an event by its name, with its facts: plain data. Any thread may call it."""

    def __call__(self, event: str, /, **facts: Any) -> None: ...


_listeners: list[Listener] = []


def publish(event: str, /, **facts: Any) -> None:
    """Tell the run of this process, if there is one."""
    for listener in tuple(_listeners):
        listener(event, **facts)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Give a listener all events for a while."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
