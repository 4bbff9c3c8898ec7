"""Resume a fit in its own folder, with its own loggers' runs: `lighter resume` and `--auto_resume`."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from lighter.config import Config, read
from lighter.config.load import Input, is_override, load
from lighter.config.problems import Problem
from lighter.config.safe import SafeMode
from lighter.errors import CheckpointError, ConfigError, RefusedCheckpointError, RunError
from lighter.files import run_folder as paths
from lighter.files.lock import only_one, owned
from lighter.processes.identity import is_here
from lighter.runs.checkpoint_files import Checkpoints
from lighter.runs.rank_zero import told_by_rank_zero
from lighter.runs.read import FINISHED, Run, read_run, refuse_running, trusted
from lighter.runs.record import saved_form
from lighter.runs.resume.config_changes import ALL, WEIGHTS, refuse_changes
from lighter.runs.resume.resume_plan import ResumePlan
from lighter.runs.resume.saved_state import newest_good
from lighter.runs.secrets import Secrets
from lighter.runs.select import find_run, newest_first

log = logging.getLogger("lighter")

_OF_RANK_ZERO = "LIGHTER_GOES_ON"  # the environment variable by which the other processes learn the folder


@contextmanager
def resumed(
    wanted: str | Path,
    root: Path,
    overrides: Sequence[str],
    take: str,
    *,
    weights_only: bool = True,
    config: Path | None = None,
) -> Iterator[tuple[ResumePlan, list[Input]]]:
    """Plan how a run resumes, and lock its folder: see `plan_resume`.

    Raises:
        RunError: there is no such run, or another process has it.
    """
    run = run_to_resume(wanted, root, overrides)
    with owned(run.folder.path, run.id) if take != WEIGHTS else nullcontext():
        run = trusted(read_run(run.folder.path))  # as it is now that nobody changes it
        yield plan_resume(run, overrides, take, weights_only=weights_only, config=config)


def run_to_resume(wanted: str | Path, root: Path, overrides: Sequence[str] = ()) -> Run:
    """Find the run. `last` is the fit that was started last; without overrides, of those that did not finish.

    Raises:
        RunError: there is none.
    """
    if not paths.is_rank_zero() and _OF_RANK_ZERO in os.environ:
        return read_run(Path(os.environ[_OF_RANK_ZERO]))

    def decide() -> str:
        newest = find_run(wanted, root, accepts=_is_fit, kind="fit")
        return str((_last(root, overrides).folder if str(wanted) == "last" else newest).path)

    run = trusted(read_run(Path(told_by_rank_zero(root, decide) or decide())))
    os.environ[_OF_RANK_ZERO] = str(run.folder.path.absolute())
    return run


def _last(root: Path, overrides: Sequence[str]) -> Run:
    newest, *older = [run for run in newest_first(paths.all_runs(root)) if run.facts.get("stage") == "fit"]
    # a finished run with overrides is to train for longer; without them, the user means the one that was interrupted
    if overrides or newest.status != FINISHED:
        return newest
    for run in older:
        if run.status != FINISHED and Checkpoints(run.folder, run.facts).newest:
            log.info("%s is finished; the newest unfinished fit resumes: %s", newest.id, run.id)
            return run
    return newest


def _is_fit(folder: paths.RunFolder) -> bool:
    try:
        return read_run(folder.path).facts.get("stage") == "fit"
    except RunError as error:
        logging.getLogger("lighter.runs").warning("left out: %s", error)
        return False


def plan_resume(
    run: Run, overrides: Sequence[str], take: str, *, weights_only: bool = True, config: Path | None = None
) -> tuple[ResumePlan, list[Input]]:
    """Plan how a run resumes, and return the inputs that it resumes with.

    `config` is the file with its config, overrides and all, where that was changed already; None for the run's own.

    Raises:
        RunError: it is running, or no fit, or finished.
        CheckpointError: it has no checkpoint that can be used.
        ConfigError: its state means nothing with these overrides.
    """
    others = [word for word in overrides if not is_override(word)]
    if others:
        message = "only overrides are given here: the config is the run's"
        raise ConfigError([Problem(message, hint=word) for word in others])
    if paths.is_rank_zero():
        _refuse_run(run, take, is_changed=bool(overrides) or config is not None)
    state = newest_good(run, complete=take != WEIGHTS, weights_only=weights_only)
    inputs: list[Input] = [config or run.folder.config, *overrides]
    now = read(inputs)
    # a new fit of these weights would load the checkpoint that the config names over them
    if take == WEIGHTS and now.expanded.find("args::fit::ckpt_path") is not None:
        inputs.append({"args": {"fit": {"ckpt_path": None}}})
    refuse_changes(state.content, now, take, run.folder.config)
    return ResumePlan(run, state, take, weights_only), inputs


def _refuse_run(run: Run, take: str, *, is_changed: bool) -> None:
    stage = run.facts.get("stage")
    if stage != "fit":
        raise RunError(f"{run.id} was a {stage}, and only a fit resumes; run it again: lighter reproduce {run.id}")
    # even to read its weights: a run that is here may delete what is about to be read
    if take != WEIGHTS or is_here(run.facts.get("host")):
        refuse_running(run)
    if take != WEIGHTS and not os.access(run.folder.path, os.W_OK):
        raise RunError(f"{run.folder.path} cannot be written to, and a fit resumes in its folder")
    if run.status == FINISHED and not is_changed:
        raise RunError(f"{run.id} is finished. To train for longer: lighter resume {run.id} trainer::max_epochs=NUMBER")


@contextmanager
def unfinished_fit(config: Config, root: Path, name: str, *, weights_only: bool = True) -> Iterator[ResumePlan | None]:
    """Plan to resume the newest fit of this name with the same config, if it stopped early and has a checkpoint.

    For as long as this lasts, no other process gets an answer for the same config.

    Raises:
        RunError: it is running, or another process is about to resume or start it.
    """
    if not paths.is_rank_zero():
        folder = told_by_rank_zero(root, lambda: "") or os.environ.get(_OF_RANK_ZERO)
        yield _with_all(read_run(Path(folder)), config, weights_only) if folder else None
        return
    os.environ.pop(_OF_RANK_ZERO, None)
    with ExitStack() as stack:
        plans: list[ResumePlan | None] = []

        def decide() -> str:
            plans.append(_locked_unfinished(stack, config, root, name, weights_only))
            return str(plans[0].run.folder.path.absolute()) if plans[0] is not None else ""

        if told_by_rank_zero(root, decide) is None:
            decide()
        yield plans[0]


def _locked_unfinished(
    stack: ExitStack, config: Config, root: Path, name: str, weights_only: bool
) -> ResumePlan | None:
    """Return the plan for the run that resumes; it is locked until the end of the stack."""
    saved = _comparable(saved_form(config.merged.plain(), Secrets(config.merged.plain())))
    with suppress(OSError):
        root.mkdir(parents=True, exist_ok=True)
    # where no lock can be, no run can: that is said where one is made
    if os.path.isdir(root) and os.access(root, os.W_OK):
        # locked by the config, as a run that has only begun cannot be found: its config is not in its folder yet
        digest = hashlib.sha256(json.dumps(saved, sort_keys=True, default=str).encode()).hexdigest()[:12]
        lock = root.absolute() / f".auto-resume-{paths.file_name(name)}-{digest}.lock"
        stack.enter_context(only_one(lock, f"`{name}`, the same command,", "it is not started twice"))
    run = _newest_unfinished(saved, root, name, config.safe)
    if run is None:
        return None
    # a stack of its own: a new run that starts in place of this one leaves its folder free
    owner = stack.enter_context(ExitStack())
    owner.enter_context(owned(run.folder.path, f"{run.id}, the same command,"))
    plan = _plan_unless_unusable(read_run(run.folder.path), config, weights_only)
    if plan is None:
        owner.close()
    return plan


def _newest_unfinished(saved: Mapping[str, Any], root: Path, name: str, safe: SafeMode | None) -> Run | None:
    for run in newest_first(paths.runs_of(root, name)):
        if run.facts.get("stage") != "fit" or run.status == FINISHED:
            continue
        with suppress(ConfigError):
            if _comparable(load([run.folder.config], safe).plain()) == saved:
                return run
    return None


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    # `project` is what a run adds, `run` says where it goes and what it is called, `launch` what its job asks for
    return {key: value for key, value in config.items() if key not in ("project", "run", "launch")}


def _plan_unless_unusable(run: Run, config: Config, weights_only: bool) -> ResumePlan | None:
    if run.status == FINISHED:  # meanwhile: it was found before its folder was locked
        return None
    refuse_running(run)
    try:
        plan = _with_all(run, config, weights_only)
    except CheckpointError as error:
        # a checkpoint that needs only a word of the user's is not thrown away
        if isinstance(error, RefusedCheckpointError) and config.safe is None:
            raise
        log.info("%s; a new run starts", error)
        return None
    os.environ[_OF_RANK_ZERO] = str(run.folder.path.absolute())
    return plan


def _with_all(run: Run, config: Config, weights_only: bool) -> ResumePlan:
    # an untrusted config's runs are untrusted too: none of its checkpoints is code, and none lies elsewhere
    is_safe = config.safe is not None
    state = newest_good(run, complete=True, weights_only=weights_only or is_safe, inside=is_safe)
    refuse_changes(state.content, config, ALL)
    return ResumePlan(run, state, ALL, weights_only, config.safe)
