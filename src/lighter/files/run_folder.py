"""Define every artifact's file name, and make and find the folders of runs.

outputs/2026-11-22/14-03-55-digits/
    run.json          the record: command, config, code, environment, progress, outcome; see `runs/journal.py`
    config.yaml       the merged config: running it again runs the same experiment
    origins.yaml      where each of its values was written
    source.patch      the changes in the checkout since its commit, if any
    source/           the source files that git did not know, if any
    split.npz         the samples of `data::split`: arrays `train` and `val` of indices
    losses.csv        the losses of the first steps of a fit, exactly
    tags.json         the tags of `lighter runs tag`
    metrics.csv       every logged value
    events.jsonl      started, epochs, checkpoints, the end: a line each, for programs
    run.log           the messages while it ran, and how it ended
    checkpoints/      last.ckpt, best.ckpt
    predictions/      a folder for each prediction task
    arrays/           values of metrics that are no single numbers, a file for each evaluation: val-epoch3-step40.npz
    report/           the last evaluation of each mode, with the section `report`: val.json, val-worst.png, ...
    tries/            of a baseline: what `lighter try` has tried against it
    slurm/            of a launched run: its job's script and output
    export/           the network for other programs: `lighter export pt2`, `onnx`
    pictures/         sheets of a `Pictures` callback: val-epoch3-step40.png, and .json for its samples
    .lock             while a process has the run: see `lock.py`

and while a writer's file grows, here or wherever it was told to write:
    predictions.partial.csv     the rows so far; predictions.partial-1.csv: those of the second process
    predictions.csv.progress    which batches these are; when both are gone, predictions.csv exists and is complete
"""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from lighter.files.lock import LOCK, release
from lighter.processes.ranks import is_rank_zero as is_rank_zero

OUTPUTS = "outputs"  # where runs go by default
EXPERIMENTS = "experiments"  # within that
MEMBER = "member.json"  # in the folder of a run that is a member of the experiment around it
RECORD = "run.json"
CONFIG = "config.yaml"
ORIGINS = "origins.yaml"
PATCH = "source.patch"
SOURCE = "source"
LOSSES = "losses.csv"
SPLIT = "split.npz"
TAGS = "tags.json"
METRICS = "metrics.csv"
LOG = "run.log"
EVENTS = "events.jsonl"
CHECKPOINTS = "checkpoints"
JOBS = "slurm"
LAST = "last.ckpt"
BEST = "best.ckpt"
PREDICTIONS = "predictions"
PROGRESS = ".progress"
PROFILE = "profile"  # fit-profile.txt; of several processes fit-profile-0.txt, ...

REPRODUCES = "LIGHTER_REPRODUCES"  # the environment variable with the id of the run that another one repeats
OF_EVERY_RUN = {RECORD, CONFIG, ORIGINS, PATCH, SOURCE, LOG, EVENTS, SPLIT}
_RUN_OF_RANK_ZERO = "LIGHTER_RUN_FOLDER"
_DAY_NAME = re.compile(r"\d{4}-\d\d-\d\d")
_FOLDER_NAME = re.compile(r"\d\d-\d\d-\d\d-(?P<name>.+?)(?:\.\d+)?$")


class _Entry:
    """The path of a file or folder in a run's folder, as an attribute of it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: RunFolder, owner: type[RunFolder]) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, claimed by it alone; its `id` is `2026-11-22/14-03-55-digits`."""

    path: Path

    def __post_init__(self) -> None:
        if ".." in self.path.parts:  # paths in the folder are compared with it
            object.__setattr__(self, "path", self.path.resolve())

    @property
    def id(self) -> str:
        return f"{self.path.absolute().parent.name}/{self.path.name}"

    record = _Entry(RECORD)
    config = _Entry(CONFIG)
    log = _Entry(LOG)
    events = _Entry(EVENTS)
    metrics = _Entry(METRICS)
    checkpoints = _Entry(CHECKPOINTS)
    predictions = _Entry(PREDICTIONS)
    arrays = _Entry("arrays")
    report = _Entry("report")
    pictures = _Entry("pictures")
    lr_curve = _Entry("lr.csv")
    lr_plot = _Entry("lr.png")

    def abandon(self) -> None:
        """Remove the folder of a run that did not start, if there is nothing in it but what we wrote."""
        if not is_rank_zero():
            return
        release(self.path / LOCK, remove=True)  # NFS keeps the name of an open file, and so the folder
        with suppress(OSError):
            if {path.name for path in self.path.iterdir()} <= OF_EVERY_RUN:
                if (self.path / SOURCE).is_dir():
                    shutil.rmtree(self.path / SOURCE)
                for path in self.path.iterdir():
                    path.unlink()
            self.path.rmdir()
            self.path.parent.rmdir()  # the day's, if it has no other run


def claim(root: Path, name: str) -> RunFolder:
    """Make a new folder `root/DATE/TIME-NAME`, or `TIME-NAME.2` and so on, that no other process has."""
    if not is_rank_zero():
        # The folder of rank 0 if that started this process; `engine/claim.py` tells those of torchrun. Any other gets
        # a path that is not made: only rank 0 writes into its folder, and Lightning tells where checkpoints are.
        return RunFolder(Path(os.environ.get(_RUN_OF_RANK_ZERO, root / "rank-0")))
    now = datetime.now()
    day = root / now.strftime("%Y-%m-%d")
    day.mkdir(parents=True, exist_ok=True)
    return go_on_in(_new_folder(day, f"{now.strftime('%H-%M-%S')}-{file_name(name)}"))


def go_on_in(path: Path) -> RunFolder:
    """Return the folder of a run that resumes; as `claim`, it tells the other processes."""
    if is_rank_zero():
        os.environ[_RUN_OF_RANK_ZERO] = str(path.absolute())
        return RunFolder(path)
    return RunFolder(Path(os.environ.get(_RUN_OF_RANK_ZERO, path)))


def claim_predictions(root: Path) -> Path:
    """Make a new folder for the outputs of prediction tasks: `root/predictions`, or `root/predictions.2` and so on."""
    root.mkdir(parents=True, exist_ok=True)
    return _new_folder(root, PREDICTIONS)


def _new_folder(parent: Path, stem: str) -> Path:
    number, path = 1, parent / stem
    while True:
        # not `exists` before it: only `mkdir` decides between two processes that come to this at once
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
            path = parent / f"{stem}.{number}"
        else:
            return path


def all_runs(root: Path) -> Iterator[RunFolder]:
    """Yield the folders of all runs under a root, the newest first."""
    folders = sorted(root.glob("????-??-??/??-??-??-*"), key=age, reverse=True)
    for _, of_one_second in groupby(folders, key=lambda path: age(path)[:2]):
        for path in _by_first_file(list(of_one_second)):
            if is_day(path.parent.name) and is_run(path.name) and path.is_dir():
                yield RunFolder(path)


def runs_of(root: Path, name: str) -> Iterator[RunFolder]:
    """Yield the runs of this name under a root, the newest first."""
    return (run for run in all_runs(root) if is_called(run.path, name))


def _by_first_file(folders: list[Path]) -> list[Path]:
    """Sort the runs of one second by when their configs were written, the newest first: names do not say it."""

    def written(path: Path) -> tuple[int, tuple[str, str, int]]:
        config = path / CONFIG
        return config.stat().st_mtime_ns if config.exists() else 0, age(path)

    return folders if len(folders) == 1 else sorted(folders, key=written, reverse=True)


def age(path: Path) -> tuple[str, str, int]:
    """Return a key that sorts runs by their age, the oldest first."""
    number = path.suffix.removeprefix(".")
    return path.parent.name, path.name[:8], int(number) if number.isdigit() else 1


def is_member(folder: Path) -> bool:
    """Return whether a run's folder is that of a member of an experiment, which is in the experiment's folder."""
    return (folder / MEMBER).is_file()


def members_in(experiment: Path) -> Iterator[RunFolder]:
    """Yield the members of an experiment that have started, by their names."""
    for record in sorted(experiment.glob(f"*/{RECORD}")):
        if is_member(record.parent):
            yield RunFolder(record.parent)


def root_of(folder: Path) -> Path:
    """Return the folder of all runs that a run's folder is in, that of an experiment's member too."""
    day = next((parent for parent in folder.absolute().parents if is_day(parent.name)), None)
    if day is None:
        return folder.parents[1]
    return day.parents[1] if day.parent.name == EXPERIMENTS else day.parent


def is_day(name: str) -> bool:
    return _DAY_NAME.fullmatch(name) is not None


def is_run(name: str) -> bool:
    return _FOLDER_NAME.match(name) is not None


def name_of(folder: Path) -> str:
    """Return the name in a run's folder, and of any other folder its own."""
    match = _FOLDER_NAME.match(folder.name)
    return match["name"] if match else folder.name


def is_called(folder: Path, name: str) -> bool:
    """Return whether a run has this name, as `run::name` has it or as its folder does."""
    return name_of(folder) in (name, file_name(name))


def file_name(name: str) -> str:
    """Return a name as part of a folder's name: letters, digits, `-` and `_`."""
    return re.sub(r"[^\w-]+", "-", name).strip("-")[:60] or "run"


def partial(path: Path, rank: int, suffix: str | None = None) -> Path:
    """Return where a process keeps its part of an unfinished file; with another suffix if it has another format."""
    return path.with_name(f"{path.stem}.partial{_of(rank)}{path.suffix if suffix is None else suffix}")


def progress(path: Path, rank: int) -> Path:
    """Return where a process notes which batches its part of a file holds."""
    return path.with_name(f"{path.name}{PROGRESS}{_of(rank)}")


def has_progress(path: Path) -> bool:
    return any(path.parent.glob(f"{glob.escape(path.name)}{PROGRESS}*"))


def merging(path: Path) -> Path:
    """Return where a file is put together from the parts of several processes."""
    return path.with_name(f"{path.stem}.merging{path.suffix}")


def _of(rank: int) -> str:
    return f"-{rank}" if rank else ""
