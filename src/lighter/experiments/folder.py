"""The folder of an experiment: what was asked for, and its members' folders. Nothing else is needed to go on.

outputs/experiments/2026-11-29/14-03-55-digits/
    config.yaml                  the merged config, with the section `experiment`: what is asked for
    config.1.yaml                what was asked for before, if more was asked for later
    trial-0000-seed-1-fold-0/    a member: an ordinary run's folder, with
        member.json              trial, seed, fold, values, rung, results: written by the coordinator
        error.txt                why its last start failed
        worker.log               what its processes printed
    launch.json                  of a launched experiment: the job of its coordinator, see `coordinator_job.py`
    stop                         a request of `lighter experiment stop`
    .lock                        while a coordinator has the experiment
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lighter.errors import RunError
from lighter.files import run_folder as paths
from lighter.files.lock import LOCK, acquire, release
from lighter.files.storage import expanded
from lighter.processes.identity import is_gone, is_here

STOP = "stop"


@dataclass(frozen=True)
class ExperimentFolder:
    """The folder of one experiment; its `id` is `2026-11-29/14-03-55-digits`."""

    path: Path

    @property
    def id(self) -> str:
        return f"{self.path.absolute().parent.name}/{self.path.name}"

    @property
    def config(self) -> Path:
        return self.path / paths.CONFIG

    @property
    def stop(self) -> Path:
        return self.path / STOP

    @property
    def is_running(self) -> bool:
        """Return whether a coordinator has it."""
        return is_held(self.path / LOCK)


def claim(root: Path, name: str) -> ExperimentFolder:
    """Make a new folder `root/experiments/DATE/TIME-NAME`."""
    return ExperimentFolder(paths.claim(root / paths.EXPERIMENTS, name).path)


def all_experiments(root: Path) -> list[ExperimentFolder]:
    """Return the experiments under a root, the newest first."""
    return [ExperimentFolder(each.path) for each in paths.all_runs(root / paths.EXPERIMENTS) if each.config.is_file()]


def find_experiment(wanted: str, root: Path) -> ExperimentFolder:
    """Find an experiment: by a path, an id, the beginning of one or of what follows the date, a name, or `last`.

    Raises:
        RunError: there is none, or several.
    """
    by_path = expanded(wanted)
    has_config = bool(wanted) and (by_path / paths.CONFIG).is_file()
    if has_config and (by_path / paths.RECORD).is_file():
        raise RunError(f"{wanted} is the folder of a run; the experiment of a member is the folder that it is in")
    if wanted and is_experiment(by_path):
        return ExperimentFolder(by_path)
    folders = all_experiments(root)
    if has_config and not any(paths.is_called(folder.path, wanted) for folder in folders):
        return ExperimentFolder(by_path)
    if not folders:
        raise RunError(f"there is no experiment under {root}. Those elsewhere are found with --dir FOLDER")
    if wanted == "last":
        return folders[0]
    matches = [folder for folder in folders if paths.is_called(folder.path, wanted)]
    matches = matches or [folder for folder in folders if wanted and _begins(folder, wanted)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        shown = "\n".join(f"  {folder.id}" for folder in matches[:8])
        raise RunError(f"`{wanted}` stands for {len(matches)} experiments; write more of one:\n{shown}")
    raise RunError(f"no experiment under {root} is called `{wanted}`. The newest is {folders[0].id}")


def is_experiment(folder: Path) -> bool:
    """Return whether a folder is certainly an experiment's: by its own name, or by its members'."""
    # the folder of a project has a config.yaml too, and often the name of its experiments
    is_like_one = paths.is_run(folder.resolve().name) or any(folder.glob(f"*/{paths.MEMBER}"))
    return (folder / paths.CONFIG).is_file() and is_like_one


def is_held(lock: Path) -> bool:
    """Return whether a process holds a lock; False where the file system has none."""
    try:
        if acquire(lock, create=False):
            release(lock)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def holder(lock: Path) -> int | None:
    """Return the process of this machine that holds a lock, as its file has it; None if there is none."""
    try:
        facts = json.loads(lock.read_bytes())
        # Its id may be another process's by now.
        is_alive = is_here(facts["host"]) and not is_gone(facts["host"], facts["pid"], facts["process_started"])
        return int(facts["pid"]) if is_alive else None
    except (OSError, ValueError, TypeError, KeyError):  # not signed yet, or removed
        return None


def _begins(folder: ExperimentFolder, text: str) -> bool:
    return folder.id.startswith(text) or folder.path.name.startswith(text)
