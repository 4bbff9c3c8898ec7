"""The status of an experiment as of now, from its folder: how much is done, what runs, what is best so far."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from lighter.errors import RunError
from lighter.experiments.coordinator_job import CoordinatorJob, job_of
from lighter.experiments.facts import Facts, points_of_space, read_facts
from lighter.experiments.folder import ExperimentFolder, all_experiments
from lighter.experiments.member_files import read_members, run_of, trials_of
from lighter.experiments.results import Result, best, results, status_of
from lighter.experiments.trials import FAILED, FINISHED, PAUSED, RUNNING, WAITING, Member, Trial
from lighter.files.run_folder import name_of
from lighter.runs.checkpoint_files import Checkpoints
from lighter.runs.read import Run

STOPPED = "stopped"
STATUSES = (RUNNING, WAITING, PAUSED, FINISHED, FAILED)


@dataclass(frozen=True)
class RunningMember:
    """A member that runs: where it is, and for how long it has run since its last start."""

    member: Member
    epoch: int | None
    step: int | None
    seconds: float | None


@dataclass(frozen=True)
class Overview:
    """An experiment, as its folder says it is now."""

    folder: ExperimentFolder
    facts: Facts
    trials: list[Trial]

    @cached_property
    def results(self) -> list[Result]:
        """All trials, the best first."""
        return results(self.trials, self.facts.objectives)

    @property
    def best(self) -> list[Result]:
        """The best trial; several where they are the Pareto front."""
        return best(self.results, self.facts.objectives)

    @property
    def members(self) -> list[Member]:
        return [member for trial in self.trials for member in trial.members]

    @cached_property
    def job(self) -> CoordinatorJob | None:
        """The coordinator's job, if that was launched."""
        return job_of(self.folder.path)

    @property
    def state(self) -> str:
        """`running` while a coordinator has it; `finished` if all is there that was asked for; otherwise `stopped`.

        While the job of its coordinator waits, `pending` or `requeued`.
        """
        if self.folder.is_running:
            return RUNNING
        if is_complete(self.trials, self.facts, self._total):
            return FINISHED
        return self.job.state if self.job is not None and self.job.is_live else STOPPED

    @property
    def reason(self) -> str:
        """Why it waits or was stopped, as far as SLURM says: `Priority`, `SLURM: TIMEOUT`."""
        return self.job.reason if self.job is not None and self.state not in (RUNNING, FINISHED) else ""

    @cached_property
    def _total(self) -> int | None:
        """The number of trials at the end: those asked for, or fewer if the search space has no more points."""
        asked = self.facts.trials
        if asked is None or not self.trials or len(self.trials) >= asked:
            return asked
        points = points_of_space(self.folder.path, asked)
        return asked if points is None else points

    @property
    def asked_members(self) -> int | None:
        """The number of members that were asked for; None if the number of trials is not known."""
        return self.facts.trials * members_of_trial(self.facts) if self.facts.trials is not None else None


def read_experiment(folder: ExperimentFolder) -> Overview:
    """Read an experiment.

    Raises:
        RunError: its config, or a member's file, cannot be read.
    """
    facts = read_facts(folder.path)
    return Overview(folder, facts, trials_of(read_members(folder.path), facts.parameters))


def read_experiments(root: Path, tell: Callable[[str], object]) -> list[Overview]:
    """Read all experiments under a root, the newest first; `tell` is called with a line for each unreadable one."""
    overviews = []
    for folder in all_experiments(root):
        try:
            overviews.append(read_experiment(folder))
        except RunError as error:
            tell(f"left out: {error}")
    return overviews


def members_of_trial(facts: Facts) -> int:
    return len(facts.seeds) * len(facts.folds)


def is_complete(trials: Sequence[Trial], facts: Facts, total: int | None) -> bool:
    """Return whether all that can be had is there: every trial and member, and none has anything to do."""
    is_there = bool(trials) and len(trials) >= (total or 0)
    members = [member for trial in trials for member in trial.members]
    has_all = all(len(trial.members) >= members_of_trial(facts) for trial in trials)
    is_idle = all(trial.is_at(trial.target) for trial in trials) and not any(each.status == RUNNING for each in members)
    return is_there and has_all and is_idle and facts.schedule.promotion(trials, total) is None


def no_result(overview: Overview) -> RunError:
    """Return the error of an experiment that has no best trial, for all who ask for it."""
    failed = sum(member.status == FAILED for member in overview.members)
    why = f"{failed} of {len(overview.members)} members failed" if failed else overview.state
    return RunError(f"no trial of {overview.folder.id} has a result yet ({why})")


def counts(trials: Sequence[Trial]) -> dict[str, int]:
    """Return how many trials have each status, without those that none has."""
    numbers = Counter(map(status_of, trials))
    return {status: numbers[status] for status in STATUSES if numbers[status]}


def at_rungs(ranked: Sequence[Result], facts: Facts) -> list[tuple[str, int]]:
    """Return each rung, as it is shown, with how many trials have come so far; nothing without rungs."""
    last = facts.schedule.last
    reached = [each.rung for each in ranked if each.rung is not None]
    return (
        [(shown_rung(rung, facts), sum(each >= rung for each in reached)) for rung in range(last + 1)] if last else []
    )


def shown_rung(rung: int, facts: Facts) -> str:
    """Return a rung as it is shown: the value of the counter, or `end`."""
    pause = facts.schedule.pause(rung)
    return f"{pause[1]:g}" if pause is not None else "end"


def running_members(folder: Path, members: Sequence[Member]) -> list[RunningMember]:
    """Return the members that run, with the progress that their records noted last."""
    return [_running(member, run_of(folder, member)) for member in members if member.status == RUNNING]


def commands_of(folder: Path, member: Member) -> dict[str, str]:
    """Return the commands that train a member anew (`fit`) and that test it (`test`), as far as its files are there."""
    run = run_of(folder, member)
    if run is None or not run.folder.config.is_file():
        return {}
    checkpoints = Checkpoints(run.folder, run.facts)
    # of a member's config, these words mean its own checkpoints
    chosen = "best" if checkpoints.best is not None else "last" if checkpoints.last is not None else None
    config = str(run.folder.config)
    found = {"fit": shlex.join(["lighter", "fit", config])}
    return found | ({"test": shlex.join(["lighter", "test", config, "--ckpt_path", chosen])} if chosen else {})


def public(overview: Overview) -> dict[str, Any]:
    """Return the facts of an experiment that a list of experiments has, for programs."""
    from lighter.experiments import results as of_results

    facts = overview.facts
    return {
        "id": overview.folder.id,
        "path": str(overview.folder.path),
        "name": name_of(overview.folder.path),
        "state": overview.state,
        "reason": overview.reason,
        "job": overview.job.public() if overview.job is not None else None,
        "objectives": [{"metric": each.metric, "mode": _mode(each.is_maximized)} for each in facts.objectives],
        "asked": {
            "trials": facts.trials,
            "seeds": list(facts.seeds),
            "folds": [fold for fold in facts.folds if fold is not None],
            "members": overview.asked_members,
        },
        "trials": counts(overview.trials),
        "members": _counts_of_members(overview.members),
        "rungs": [{"at": at, "trials": number} for at, number in at_rungs(overview.results, facts)],
        "best": [of_results.public(each, facts.objectives) for each in overview.best],
    }


def public_running(each: RunningMember) -> dict[str, Any]:
    member = each.member
    place = {"member": member.name, "trial": member.trial, "seed": member.seed, "fold": member.fold}
    return {**place, "epoch": each.epoch, "step": each.step, "seconds": each.seconds}


def _mode(is_maximized: bool) -> str:
    return "max" if is_maximized else "min"


def _counts_of_members(members: Sequence[Member]) -> dict[str, int]:
    numbers = Counter(member.status for member in members)
    return {status: numbers[status] for status in STATUSES if numbers[status]}


def _running(member: Member, run: Run | None) -> RunningMember:
    facts: Mapping[str, Any] = run.facts if run is not None else {}
    progress = facts.get("progress") or {}
    return RunningMember(member, progress.get("epoch"), progress.get("step"), _since(facts.get("started")))


def _since(started: object) -> float | None:
    try:
        return max((datetime.now().astimezone() - datetime.fromisoformat(str(started))).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None
