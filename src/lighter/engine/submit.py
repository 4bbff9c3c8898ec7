"""Submit what is launched: the job's settings by config and command, its task as plain data, its script."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lighter.config import Config, yaml
from lighter.config.problems import ERROR, in_order
from lighter.engine.check.context import Context
from lighter.engine.check.devices import devices_per_node
from lighter.engine.check.launch import check_launch
from lighter.errors import ConfigError, LaunchError
from lighter.files.atomic import write_whole
from lighter.files.run_folder import CONFIG, RunFolder
from lighter.launch.section import SECTION, USUAL_REQUEUES, LaunchSettings, parse_launch
from lighter.launch.submission import FOLDER, submitter, submitting
from lighter.launch.task import run_in_job
from lighter.runs import provenance

ENTRY = "lighter.cli.launched:run_launched"
"""The function that runs a task in its job, by name: it is above this package."""

_OF_SUBMITIT = re.compile(r"\.submission_file_[0-9a-f]{32}\.sh|[0-9a-f]{32}\.pkl")
"""The files that submitit writes before a job has a number, and leaves if it gets none."""


@dataclass(frozen=True)
class Launch:
    """The options of a submission, from the command line.

    Attributes:
        requeue: whether it may be requeued; None for what the config says.
        dry_run: make the script and submit nothing.
        traceback: show all frames of a failure.
    """

    requeue: bool | None = None
    dry_run: bool = False
    traceback: bool = False


@dataclass(frozen=True)
class Launched:
    """A submitted job; of a dry run, `job` is None and the folder is not there."""

    what: str
    folder: Path
    job: str | None
    script: str

    @property
    def log(self) -> Path:
        """The file with all that the job prints."""
        return self.folder / FOLDER / f"{self.job}_0_log.out"


def settings_of(config: Config, launch: Launch) -> LaunchSettings:
    """Return what the job asks for: the section, what the command says, and a task of SLURM's for each process.

    Raises:
        ConfigError: with all mistakes of the section.
    """
    context = Context(config.expanded, config.module_section, "fit")
    check_launch(context, ERROR)
    if context.problems:
        raise ConfigError(in_order(context.problems))
    settings = parse_launch(config.expanded, [])
    if launch.requeue is not None and launch.requeue != bool(settings.requeue):
        settings = replace(settings, requeue=USUAL_REQUEUES if launch.requeue else 0)
    section = config.expanded.child(SECTION)
    says_tasks = section is not None and isinstance(section.value, dict) and "tasks" in section.value
    if settings.nodes > 1 and not says_tasks:
        # on one node Lightning starts the processes itself; on several it expects SLURM to
        devices = devices_per_node(context)
        if devices is not None and not isinstance(devices, int):
            message = "SLURM starts a process for each device, and how many that are is an expression, worked out later"
            context.problem(message, "trainer::devices", f"Write a number here, or at {SECTION}::tasks.")
            raise ConfigError(in_order(context.problems))
        settings = replace(settings, tasks=devices or settings.gpus or 1)
    return settings


def job_name(folder: RunFolder) -> str:
    # of its own for each submission: the queue is asked for it
    return f"{folder.path.absolute().name}.{uuid.uuid4().hex[:8]}"


def submit(
    what: str,
    folder: Path,
    saved: Mapping[str, Any] | None,
    task: dict[str, Any],
    settings: LaunchSettings,
    launch: Launch,
    name: str,
) -> Launched:
    """Submit a task for a folder, or only make its script.

    Args:
        what: the command, for people.
        saved: the config that the job reads; None for that in the folder.
        task: what `run_launched` does in the job; completed here.

    Raises:
        LaunchError: SLURM refuses the job.
    """
    home = folder.absolute() / FOLDER
    config = home / f"{name}.yaml" if saved is not None else folder.absolute() / CONFIG
    task |= {
        "folder": str(folder.absolute()),
        "config": str(config),
        "cwd": str(Path.cwd()),
        "name": name,
        "command": provenance.command(),
        "requeues": settings.requeue,
        "traceback": launch.traceback,
        "threads": settings.cpus,
    }
    executor = submitter(home, settings, name, requeue=settings.requeue > 0)
    script = executor._make_submission_file_text(executor._submitit_command_str, "")
    if launch.dry_run:
        return Launched(what, folder, None, script)
    with _undone_by_failure(home, name), submitting():
        if saved is not None:
            write_whole(config, yaml.dump(saved))
        try:
            job = executor.submit(run_in_job, ENTRY, task)
        except RuntimeError as error:  # submitit's, with the text of sbatch
            raise LaunchError(f"SLURM does not take the job: {error}") from error
    return Launched(what, folder, job.job_id, script)


@contextmanager
def _undone_by_failure(home: Path, name: str) -> Iterator[None]:
    """Make the folder of scripts and logs; remove what a submission that fails has written there."""
    home.mkdir(exist_ok=True)
    before = set(home.iterdir())
    try:
        yield
    except Exception:  # not at Ctrl-C, as the job may be there
        for path in set(home.iterdir()) - before:
            # another job may write its log and its result there meanwhile
            if path.name == f"{name}.yaml" or _OF_SUBMITIT.fullmatch(path.name):
                path.unlink(missing_ok=True)
        with suppress(OSError):  # it has files of other jobs
            home.rmdir()
        raise
