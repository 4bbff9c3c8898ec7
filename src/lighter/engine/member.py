"""Run a member of an experiment in its own folder: begin its fit, or resume it there up to the next pause.

`run_member` is the whole life of a worker's process. It may be called again for the same folder at any time, after any
end: what is done is not done twice.
"""

from __future__ import annotations

import errno
import importlib.util
import json
import logging
import os
import shutil
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lighter.errors import CheckpointError, LighterError, ProcessError, RunError, StorageError
from lighter.experiments.executors.base import BUSY, ERROR, MEMBER_LOCK, NO_DISK, OF_COORDINATOR
from lighter.experiments.folder import is_held
from lighter.files.atomic import write_whole
from lighter.files.lock import LOCK, only_one
from lighter.files.run_folder import RECORD, RunFolder, is_rank_zero
from lighter.processes.streams import print_each_line_at_once
from lighter.runs.read import FINISHED, read_run

log = logging.getLogger("lighter")
INTERRUPTED = 130
TASK = "LIGHTER_MEMBER"  # the environment variable by which the other processes of a distributed fit learn it


def run_member(task: Mapping[str, Any]) -> int:
    """Run a `Task`, given as plain data, and return an exit code.

    The code is 0 if the fit is finished or has paused, `BUSY` if another process runs it, `NO_DISK` if a disk is full,
    128 + n after signal n, and another one if it failed: the reason is then in `error.txt`.
    """
    print_each_line_at_once()
    os.chdir(task["cwd"])
    os.environ.update(task["environment"])
    folder = Path(task["folder"])
    _use_threads(task["environment"].get("OMP_NUM_THREADS"))
    try:
        with only_one(folder / MEMBER_LOCK, folder.name, "it is not started twice"):
            if is_rank_zero() and is_held(folder / LOCK):
                print(f"{folder.name} is running: somebody has resumed it", file=sys.stderr)
                return BUSY
            return _recorded(task, folder)
    except RunError as error:
        print(error, file=sys.stderr)
        # Where nobody holds it, the folder cannot be written to.
        return BUSY if is_held(folder / MEMBER_LOCK) else error.exit_code


def _recorded(task: Mapping[str, Any], folder: Path) -> int:
    """Run the fit; leave the reason of a failure in the folder."""
    if is_rank_zero():
        (folder / ERROR).unlink(missing_ok=True)
    _show_messages()
    try:
        _fit(task, folder)
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        text = str(error) if isinstance(error, LighterError) else f"{type(error).__name__}: {error}"
        text = "\n".join([text, *getattr(error, "__notes__", ())])
        # A full disk is no fault of this member, which resumes as after a kill. Of several processes, the one that
        # failed has said why, and the others only that one has.
        is_told = isinstance(error, ProcessError) and (folder / ERROR).exists()
        if not _is_of_disk(error) and not is_told:
            write_whole(folder / ERROR, text.encode(errors="replace"))
        if isinstance(error, LighterError):
            print(error, file=sys.stderr)
        else:
            traceback.print_exc()
        if _is_of_disk(error):
            return NO_DISK
        return error.exit_code if isinstance(error, LighterError) else 1
    return 0


def _is_of_disk(error: Exception) -> bool:
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return isinstance(error, StorageError) or (isinstance(error, OSError) and error.errno in numbers)


def _fit(task: Mapping[str, Any], folder: Path) -> None:
    from lighter.processes.signals import stop_signals

    with stop_signals():
        # A server whose coordinator was killed may start it late, after the next coordinator has had it.
        if (folder / RECORD).is_file() and read_run(folder).status == FINISHED:
            return
        # the first process says it to those that Lightning starts
        if task.get("resumes", _has_saved(folder)):
            with suppress(CheckpointError):  # none that can be used
                _start(task, folder, resumes=True)
                return
        if is_rank_zero():
            _clear(folder)
        _start(task, folder, resumes=False)


def _has_saved(folder: Path) -> bool:
    """Return whether an earlier start has saved a checkpoint: the same in all processes, however far the first is."""
    if not (folder / RECORD).is_file():
        return False
    run = read_run(folder)
    return bool(run.facts.get("checkpoints")) or any(RunFolder(folder).checkpoints.glob("*.ckpt"))


def _start(task: Mapping[str, Any], folder: Path, *, resumes: bool) -> None:
    from lighter.engine.runner import Runner
    from lighter.trainer.stopping.pause import Pause

    counter, value = task["pause"] or ("", 0.0)
    pause = Pause(counter.rpartition("::")[2], value) if task["pause"] else None
    _start_others_with({**task, "resumes": resumes})
    if resumes:
        Runner().resume(folder, pause=pause)
    else:
        Runner().execute("fit", list(task["inputs"]), pause=pause, in_folder=folder)


def _start_others_with(task: Mapping[str, Any]) -> None:
    """Have Lightning start the other processes of a distributed fit with this module.

    It starts the main module once more with the same arguments: here, that of an executor.
    """
    os.environ[TASK] = json.dumps(task)
    sys.argv = ["lighter", "fit", *task["inputs"]]  # read by nobody but the record: it trains the same by hand
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("lighter.engine.member")


def _clear(folder: Path) -> None:
    """Remove what an earlier start left, which ended before anything of its training was saved."""
    for path in folder.iterdir():
        if path.name not in OF_COORDINATOR:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _use_threads(number: str | None) -> None:
    if number is not None:
        import torch

        # The variable itself is read when torch is loaded, which was before this process was forked.
        torch.set_num_threads(int(number))


def _show_messages() -> None:
    """Print messages as `lighter fit` does; they go to the worker's log."""
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: not hasattr(record, "shown"))
    logging.getLogger("lighter").addHandler(handler)
    logging.getLogger("lighter").setLevel(logging.INFO)


if __name__ == "__main__":  # the process of another rank, or a worker that cannot be forked
    from lighter import lightning_alias

    lightning_alias.install()
    raise SystemExit(run_member(json.loads(os.environ[TASK])))
