"""Launch a stage or an experiment as a job: check all that can be told now, freeze the config, make the folder, submit.

The folder is there before the job, with a record that says `pending`. All starts of the job use it; see
`cli/launched.py` for what runs there. The config is frozen; code and data are those of the moment when the job starts,
and what has changed of the code since the submission is said in the run's log.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lighter.config import Config, examine
from lighter.config.load import Input
from lighter.config.problems import Problem, in_order
from lighter.engine.claim import RunOptions, claim_folder
from lighter.engine.execution import checked, user_code_importable
from lighter.engine.frozen import frozen
from lighter.engine.submit import Launch, Launched, job_name, settings_of, submit
from lighter.errors import ConfigError
from lighter.experiments.coordinator_job import note_submission
from lighter.files.atomic import write_whole
from lighter.files.lock import owned
from lighter.files.run_folder import RunFolder
from lighter.launch.section import SECTION, LaunchSettings
from lighter.launch.submission import FOLDER, require
from lighter.runs import provenance
from lighter.runs.checkpoint_files import moments
from lighter.runs.journal import Journal
from lighter.runs.read import PENDING, Run
from lighter.runs.record import saved_form, write_config
from lighter.runs.resume.config_changes import WEIGHTS
from lighter.runs.secrets import Secrets

check_log = logging.getLogger("lighter.check")

_INSTEAD = "Leave out --launch to run it here, or submit it where jobs are submitted."


def launch_stage(
    stage: str, inputs: Sequence[Input], launch: Launch, *, auto_resume: bool = False, **arguments: Any
) -> Launched:
    """Submit a stage as a job with a new folder.

    Args:
        auto_resume: resume the newest fit of the same config, if that stopped before its end.
        arguments: for the trainer's method.

    Raises:
        ConfigError: the config is wrong, or nothing can be submitted here.
        CheckpointError: the checkpoint cannot be used.
        LaunchError: SLURM refuses the job.
    """
    require(SECTION, _INSTEAD)
    examined = _examined(stage, inputs, arguments)
    config, options = examined.config, RunOptions.of(examined.config, inputs)
    if auto_resume:
        from lighter.runs.resume.fit import unfinished_fit

        weights_only = arguments.get("weights_only") is not False
        with unfinished_fit(config, options.root, options.name, weights_only=weights_only) as plan:
            before = plan.run if plan is not None else None
        if before is not None:
            return _launch_in(before, examined, launch, weights_only=weights_only)
    folder = claim_folder(options, config)
    with _undone_by_failure(folder, launch):
        arguments = {**arguments, **_found_checkpoint(stage, config, options, folder, arguments)}
        task = {"mode": "start", "stage": stage, "arguments": arguments}
        return _launch_new(folder, inputs, examined, task, launch)


def launch_resume(
    wanted: str | Path, root: Path, overrides: Sequence[str], take: str, launch: Launch, *, weights_only: bool = True
) -> Launched:
    """Submit the resume of a fit as a job, in the fit's own folder; with its weights alone in a new one.

    Raises:
        RunError: there is no such run, or it cannot be resumed.
        CheckpointError: it has no checkpoint that can be used.
        ConfigError: the overrides are wrong, or nothing can be submitted here.
        LaunchError: SLURM refuses the job.
    """
    require(SECTION, _INSTEAD)
    from lighter.runs.resume.fit import resumed

    with resumed(wanted, root, overrides, take, weights_only=weights_only) as (plan, inputs):
        run, inputs = plan.run, list(inputs)
    examined = _examined("fit", inputs, {})
    if take != WEIGHTS:
        return _launch_in(run, examined, launch, take=take, weights_only=weights_only)
    folder = claim_folder(RunOptions.of(examined.config, inputs), examined.config)
    with _undone_by_failure(folder, launch):
        arguments = {} if weights_only else {"weights_only": False}
        task = {"mode": "weights", "stage": "fit", "run": str(run.folder.path.absolute()), "arguments": arguments}
        return _launch_new(folder, inputs, examined, task, launch)


def launch_experiment(inputs: Sequence[Input], options: Mapping[str, Any], launch: Launch) -> Launched:
    """Submit the coordinator of a new experiment as a job.

    Raises:
        ConfigError: the config is wrong, or nothing can be submitted here.
        LaunchError: SLURM refuses the job.
    """
    from lighter.engine.experiment import plan
    from lighter.experiments.folder import claim

    require(SECTION, _INSTEAD)
    saved, asked, where = plan(inputs, **options)
    settings = settings_of(asked.space.config, launch)
    folder = RunFolder(claim(where.root, where.name).path)
    with _undone_by_failure(folder, launch):
        write_config(saved, folder)
        return _launch_coordinator(folder, settings, launch)


def launch_experiment_resume(wanted: str, root: Path, changes: Sequence[str], launch: Launch) -> Launched:
    """Submit the coordinator of an experiment that resumes as a job.

    Raises:
        RunError: there is no such experiment, or another process has it.
        ConfigError: the changes are wrong, or nothing can be submitted here.
        LaunchError: SLURM refuses the job.
    """
    from lighter.engine.experiment import prepared

    require(SECTION, _INSTEAD)
    with prepared(wanted, root, changes, writes=not launch.dry_run) as (experiment, asked):
        settings, folder = settings_of(asked.space.config, launch), RunFolder(experiment.path)
    return _launch_coordinator(folder, settings, launch)


def _launch_coordinator(folder: RunFolder, settings: LaunchSettings, launch: Launch) -> Launched:
    name = job_name(folder)
    launched = submit("sweep", folder.path, None, {"mode": "experiment"}, settings, launch, name)
    if launched.job is not None:
        note_submission(folder.path, {**_facts(name, settings), "job": launched.job})
    return launched


class _Examined(NamedTuple):
    config: Config
    saved: dict[str, Any]  # as the job reads it
    code: dict[str, str]  # the hashes of the user's modules


def _examined(stage: str, inputs: Sequence[Input], arguments: Mapping[str, Any]) -> _Examined:
    """Check a config as the stage would."""
    config, problems = examine(inputs)
    if config is None:
        raise ConfigError(in_order(problems))
    if config.safe is not None:
        message = "an untrusted config is not launched: its job would run it as one that you trust"
        raise ConfigError([Problem(message, hint="Save it in a file, read it, and launch that.")])
    with user_code_importable(config, problems) as project:
        for warning in checked(config, stage, problems, arguments):
            check_log.warning("%s", warning)
        code = provenance.code()
    return _Examined(config, frozen(config, project, "its job"), code)


def _found_checkpoint(
    stage: str, config: Config, options: RunOptions, folder: RunFolder, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the checkpoint's file, found and verified now: `last` and `best` may be of another run by then."""
    from lighter.files.run_folder import is_member
    from lighter.runs.find_checkpoint import find, verify

    node = config.expanded.find(f"args::{stage}::ckpt_path")
    wanted = arguments.get("ckpt_path") or (node.plain() if node is not None else None)
    if not isinstance(wanted, str) or wanted[:1] in ("@", "$"):
        return {}
    fits, weights_only = stage == "fit", arguments.get("weights_only") is not False
    check = partial(verify, weights_only=weights_only, safe=False, fits=fits)
    saved_by = options.saved_by
    among = [saved_by] if saved_by and (is_member(saved_by.path) or saved_by.checkpoints.is_dir()) else None
    path = find(wanted, options.root, options.name, besides=folder, check=check, fits=fits, among=among)
    return {"ckpt_path": path}


def _launch_new(
    folder: RunFolder, inputs: Sequence[Input], examined: _Examined, task: dict[str, Any], launch: Launch
) -> Launched:
    """Write the record of a run that is to begin, and submit it."""
    name, settings, stage = job_name(folder), settings_of(examined.config, launch), task["stage"]
    journal = Journal(folder, Secrets(examined.config.merged.plain()), keeps_folder=True)
    journal.open(stage, inputs, examined.config, saved_form(task["arguments"], journal.secrets))
    journal.note(code=examined.code, status=PENDING, launch=_facts(name, settings))
    return submit(stage, folder.path, examined.saved, task, settings, launch, name)


def _launch_in(
    run: Run, examined: _Examined, launch: Launch, *, take: str = "all", weights_only: bool = True
) -> Launched:
    """Submit the resume of a run in its own folder; where that is not possible, its record is as it was."""
    folder, name, settings = run.folder, job_name(run.folder), settings_of(examined.config, launch)
    arguments = {} if weights_only else {"weights_only": False}
    task: dict[str, Any] = {"mode": "resume", "stage": "fit", "take": take, "arguments": arguments}
    task["earlier"] = sorted(moments(folder, run.facts))
    if launch.dry_run:
        return submit("fit", folder.path, None, task, settings, launch, name)
    with owned(folder.path, run.id):
        record = folder.record.read_text(encoding="utf-8")
        journal = Journal(folder, Secrets(examined.config.merged.plain()))
        journal.facts = dict(run.facts)
        journal.note(status=PENDING, launch={**_facts(name, settings), "before": run.status})
    try:
        return submit("fit", folder.path, examined.saved, task, settings, launch, name)
    except Exception:  # not at Ctrl-C, as the job may be there
        write_whole(folder.record, record)
        raise


def _facts(name: str, settings: LaunchSettings) -> dict[str, Any]:
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"kind": "slurm", "name": name, "user": os.getuid(), "requeue": settings.requeue, "submitted": now}


@contextmanager
def _undone_by_failure(folder: RunFolder, launch: Launch) -> Iterator[None]:
    """Remove a new folder if its job was not submitted."""
    try:
        yield
    except Exception:  # not at Ctrl-C, as the job may be there
        _remove(folder)
        raise
    if launch.dry_run:
        _remove(folder)


def _remove(folder: RunFolder) -> None:
    shutil.rmtree(folder.path / FOLDER, ignore_errors=True)
    folder.abandon()
