"""Signal handlers are as they were after each test."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from lighter.processes import signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Whatever a test does, the handlers are as they were."""
    before = {signum: signal.getsignal(signum) for signum in signals.STOPS}
    yield
    after = {signum: signal.getsignal(signum) for signum in signals.STOPS}
    for signum, handler in before.items():
        signal.signal(signum, handler)
    assert after == before
    assert signals.current() is None
    assert signal.set_wakeup_fd(-1) == -1
