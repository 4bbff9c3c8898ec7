"""`lighter`, with the server of a local experiment forked from this process, which has imported everything.

The server is otherwise the real one: a session of its own, no open files but its socket. It saves the seconds that a
new process imports, which every start of a coordinator would take.
"""

from __future__ import annotations

import os
import subprocess
import traceback
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from lighter.cli import main
from lighter.engine import member_server
from lighter.experiments.executors import local


class ForkedServer:
    """The part of `subprocess.Popen` that the local executor uses."""

    def __init__(self, command: Sequence[str], *, pass_fds: Sequence[int], **_: Any) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            os.setsid()
            [descriptor] = pass_fds
            os.closerange(3, descriptor)
            os.closerange(descriptor + 1, 1024)
            code = member_server.main(descriptor, command[-1])
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def wait(self) -> int | None:
        return self._reap(0)

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode


if __name__ == "__main__":
    # of that module alone: others start processes too
    local.subprocess = SimpleNamespace(Popen=ForkedServer, DEVNULL=subprocess.DEVNULL)  # type: ignore[assignment]
    main()
