"""Tell decisions of the first process of a distributed run to the others, before there is a process group.

Processes that Lightning starts inherit it from the first (`files/run_folder.py`). torchrun and srun start all of them
alike, on all nodes. torchrun keeps a key-value store for its job while that runs. srun keeps nothing, and there the
first process leaves a file among the runs, which are on a disk that all nodes share. Both are of this job alone, so
nothing of another can be found, and no clock is compared.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from lighter.errors import ProcessError
from lighter.files.atomic import write_whole
from lighter.processes.ranks import is_rank_zero

_PATIENCE = timedelta(minutes=10)
_PAUSE = 0.1  # seconds
_OLD = 24 * 3600.0  # seconds after which a file is of nobody any more
OF_SLURM = ".slurm"
"""The folder of these files."""
_FAILED = "failed"
# Processes of one job decide the same things in the same order, and so a thing has the same number in each.
_numbers = itertools.count()


def told_by_rank_zero(root: Path, decide: Callable[[], str]) -> str | None:
    """Return what the first process decides, in all of them; None if they were not started alike by torchrun or srun.

    Args:
        root: the folder of all runs, on a disk that all nodes share.
        decide: called in the first process only.

    Raises:
        ProcessError: the first process failed to decide, or said nothing for ten minutes.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and os.environ.get("WORLD_SIZE", "1") != "1":
        return _by_store(decide)
    # within the script of a job, beside its steps, these are not set
    if int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1 and "RANK" not in os.environ:
        return _by_file(root / OF_SLURM, decide)
    return None


def _by_store(decide: Callable[[], str]) -> str:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, timeout=_PATIENCE)
    # a job that torchrun has started again is another run
    key = f"lighter/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{next(_numbers)}"
    if is_rank_zero():
        decided = decide()
        store.set(key, decided)
        return decided
    return str(store.get(key).decode())


def _by_file(folder: Path, decide: Callable[[], str]) -> str:
    names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
    path = folder / "-".join([*(os.environ.get(name, "0") for name in names), str(next(_numbers))])
    if not is_rank_zero():
        return _waited_for(path)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > _OLD:
                old.unlink()
    try:
        decided = decide()
    except BaseException:
        write_whole(path, _FAILED)
        raise
    write_whole(path, f"decided {decided}")
    return decided


def _waited_for(path: Path) -> str:
    until = time.monotonic() + _PATIENCE.total_seconds()
    while time.monotonic() < until:
        with suppress(FileNotFoundError):
            how, _, decided = path.read_text(encoding="utf-8").partition(" ")
            if how == _FAILED:
                raise ProcessError("the first process failed; its own lines say why")
            return decided
        time.sleep(_PAUSE)
    raise ProcessError(f"the first process has not said where this run is: there is no {path}. Do all nodes share it?")
