"""The server of the local executor, without its imports, whose members are those of `stand_ins.py`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lighter.engine import member, member_server
from lighter.processes.signals import Stopped, stop_signals
from tests.experiments import stand_ins


def run_member(task: Mapping[str, Any]) -> int:
    try:
        with stop_signals():
            return stand_ins.run_member(task)
    except Stopped as stopped:
        return 128 + stopped.signum


def imports(config: str, stack: object) -> None:
    """Import nothing, as slowly as the first line of the config says."""
    time.sleep(float(Path(config).read_text()))


if __name__ == "__main__":
    member.run_member, member_server._import_everything = run_member, imports
    raise SystemExit(member_server.main(int(sys.argv[1]), sys.argv[2]))
