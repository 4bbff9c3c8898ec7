"""One folder for all processes of a run, however they were started.

Processes that Lightning starts inherit the folder's path from the first (`run/paths.py`). torchrun starts all of them
alike, and keeps a key-value store for them while they run: there the first process puts the path, and the others wait
for it. The store is of this job alone, so nothing of another can be found in it, and works across machines.
"""

from __future__ import annotations

import itertools
import os
from datetime import timedelta
from pathlib import Path

from lighter.files import run_folder as paths

_PATIENCE = timedelta(minutes=10)
_runs = itertools.count()  # each run of a process is the same one in all processes


def claim(root: Path, name: str) -> paths.RunFolder:
    """Make a new folder `root/DATE/TIME-NAME`, once for all processes of the run; see `paths.claim`."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or os.environ.get("WORLD_SIZE", "1") == "1":
        return paths.claim(root, name)

    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, timeout=_PATIENCE)
    # a job that torchrun has started again is another run
    key = f"lighter/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{next(_runs)}/folder"
    if paths.is_rank_zero():
        folder = paths.claim(root, name)
        store.set(key, str(folder.path.absolute()))
        return folder
    return paths.RunFolder(Path(store.get(key).decode()))
