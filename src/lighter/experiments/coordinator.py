"""The loop of an experiment: collect what has ended, decide what is next, start it where a worker is free.

All it knows is in the members' folders, and every decision is a function of that. So it may be killed at any moment:
the next coordinator reads the folders and decides the same.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from lighter.errors import StorageError
from lighter.experiments import trackers
from lighter.experiments.executors.base import ERROR, MEMBER_LOCK, WORKER_LOG, Ended, Executor, Task
from lighter.experiments.folder import ExperimentFolder, holder, is_held
from lighter.experiments.member_files import read_members, run_of, trials_of, write_member
from lighter.experiments.schedule import PROGRESS
from lighter.experiments.shown_values import shown_values
from lighter.experiments.trials import FAILED, FINISHED, PAUSED, RUNNING, WAITING, Member, Trial
from lighter.files.lock import LOCK
from lighter.runs.read import FINISHED as RUN_FINISHED
from lighter.runs.read import PAUSED as RUN_PAUSED
from lighter.runs.read import Run

if TYPE_CHECKING:
    from lighter.experiments.section import Asked

log = logging.getLogger("lighter")

_TICK = 0.5  # seconds between two looks at members of an earlier coordinator, and for a request to stop
_MOST_DEATHS = 5  # after so many deaths of its process without progress a member counts as failed


class Coordinator:
    """Run the members of one experiment until all that was asked for is there.

    Args:
        tell: called with each member that has come to a result or has failed.
        watch: called with the coordinator between two looks at the members.
        is_stopped: asked between two decisions.
    """

    def __init__(
        self,
        folder: ExperimentFolder,
        asked: Asked,
        executor: Executor,
        *,
        tell: Callable[[Member], object] = lambda _: None,
        watch: Callable[[Coordinator], object] = lambda _: None,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.folder, self.asked, self.executor = folder, asked, executor
        self.trials = {trial.number: trial for trial in trials_of(read_members(folder.path), asked.parameters)}
        self._active: dict[str, Member] = {}  # by the names of their folders
        self._adopted: dict[str, Member] = {}  # started by an earlier coordinator, and still running
        self._tell, self._watch, self._is_stopped = tell, watch, is_stopped
        self._total = asked.trials
        self._deaths: dict[str, tuple[int, int]] = {}  # of members whose process died: at which step, how often
        left = {folder.name for folder in executor.adopt()}  # which the executor sees the end of
        for member in self._members():
            if member.name in left:
                self._active[member.name], member.status = member, RUNNING
            else:
                self._take_over(member)

    @property
    def running(self) -> list[Member]:
        return [*self._active.values(), *self._adopted.values()]

    def progress(self) -> dict[str, Mapping[str, Any]]:
        """Return how far the members are that run, by the names of their folders, as their records have it."""
        runs = {member.name: run_of(self.folder.path, member) for member in self.running}
        return {name: (run.facts.get("progress") or {}) if run is not None else {} for name, run in runs.items()}

    def run(self) -> bool:
        """Run members; return whether all that was asked for is there, false after a stop."""
        for trial in self.trials.values():
            self._add_members(trial)
            # a promotion may have been written for some of its members only
            self._promote(trial, trial.target)
        while not self._is_stopped():
            self._start_members()
            self._watch(self)
            if not self.running:
                return True
            self.wait(_TICK)
        self.executor.stop()
        for name in [*self._active]:
            self._settle(self._active.pop(name), None)
        self._stop_adopted()
        self._watch(self)
        return False

    def wait(self, seconds: float) -> None:
        """Wait for members to end, and note their results."""
        for ended in self.executor.ended(seconds):
            member = self._active.pop(ended.folder.name)
            if ended.is_busy:
                self._adopted[member.name] = member
            else:
                self._settle(member, ended)
        for member in [*self._adopted.values()]:
            if not self._runs(member):
                self._adopted.pop(member.name)
                self._settle(member, None)

    # Decisions

    def _start_members(self) -> None:
        while self.executor.free() > len(self._adopted):
            member = self._next()
            if member is None:
                return
            if self._is_there(member):
                continue
            self._active[member.name] = member
            member.status = RUNNING
            self.executor.start(self._task(member))

    def _next(self) -> Member | None:
        """Return the member to start next: one that is under way, of a promoted trial, or of a new one."""
        while True:
            member = next(self._waiting(), None)
            if member is not None:
                return member
            history = [self.trials[number] for number in sorted(self.trials)]
            promotion = self.asked.schedule.promotion(history, self._total)
            if promotion is not None:
                number, rung = promotion
                self._promote(self.trials[number], rung)
            elif not self._add_trial(history):
                return None

    def _promote(self, trial: Trial, rung: int) -> None:
        for member in trial.members:
            if member.target != rung:
                member.target = rung
                write_member(self.folder.path, member)

    def _waiting(self) -> Iterator[Member]:
        for number in sorted(self.trials):
            trial = self.trials[number]
            for member in trial.members:
                runs = member.name in self._active or member.name in self._adopted
                if not runs and not member.is_at(trial.target):
                    yield member

    def _add_trial(self, history: list[Trial]) -> bool:
        if len(self.trials) >= self._total:
            return False
        # its number, unless the folders of an earlier trial were removed
        number = next(number for number in count() if number not in self.trials)
        values = self.asked.search.suggest(number, history)
        if values is None:
            self._total = len(self.trials)
            log.info("the search space has no more than %d trials", self._total)
            return False
        self.trials[number] = Trial(number, values, [], shown_values(self.asked.parameters, values))
        self._add_members(self.trials[number])
        return True

    def _add_members(self, trial: Trial) -> None:
        """Add those members of a trial that are asked for and not there: all of a new one, or of a new seed or fold."""
        there = {(member.seed, member.fold) for member in trial.members}
        target = trial.target if trial.members else self.asked.schedule.first_rung(trial.number)
        for seed in self.asked.seeds:
            for fold in self.asked.folds:
                if (seed, fold) not in there:
                    trial.members.append(Member(trial.number, seed, fold, trial.values, target))
        order = {seed: index for index, seed in enumerate(self.asked.seeds)}
        trial.members.sort(key=lambda member: (order.get(member.seed, len(order)), member.seed, member.fold or 0))
        # A member that is written is of a trial whose values are known, so the order does not matter after a kill.
        for member in trial.members:
            if (member.seed, member.fold) not in there:
                write_member(self.folder.path, member)

    def _task(self, member: Member) -> Task:
        folder = (self.folder.path / member.name).absolute()
        inputs = self.asked.inputs(self.folder.config.absolute(), member)
        variables = trackers.variables(self.folder.id, member.name, os.environ)
        return Task(str(folder), tuple(inputs), self.asked.schedule.pause(member.target), os.getcwd(), variables)

    # Results

    def _members(self) -> Iterator[Member]:
        for trial in self.trials.values():
            yield from trial.members

    def _take_over(self, member: Member) -> None:
        """Take over a member from an earlier coordinator: it runs, waits, or has an end that nobody noted."""
        if self._runs(member):
            self._adopted[member.name] = member
            member.status = RUNNING
        elif member.status != FAILED:
            self._settle(member, None)
        elif member.attempts < self.asked.retries:  # more were asked for since
            self._retry(member)

    def _runs(self, member: Member) -> bool:
        """Return whether a process has a member: a worker, or one that somebody resumed by hand."""
        home = self.folder.path / member.name
        return is_held(home / MEMBER_LOCK) or is_held(home / LOCK)

    def _is_there(self, member: Member) -> bool:
        """Return whether a member that seems to wait has already come where it is to go, and note that."""
        run = run_of(self.folder.path, member)
        return run is not None and self._note_results(member, run)

    def _settle(self, member: Member, ended: Ended | None) -> None:
        """Note what came of a start; `ended` is None for one of an earlier coordinator."""
        member.status = WAITING
        home = self.folder.path / member.name
        error = home / ERROR
        if error.is_file():
            self._fail(member, error.read_text(encoding="utf-8", errors="replace"))
            return
        run = run_of(self.folder.path, member)
        if run is not None and self._note_results(member, run):
            return
        # It was stopped, or its process died: it resumes. One that dies at each start is given up.
        if ended is None or self._is_stopped():
            return
        if ended.has_no_disk:
            raise StorageError(f"{home} cannot be written to, as its {WORKER_LOG} says; once there is room, resume")
        step = (run.facts.get("progress") or {}).get("step", 0) if run is not None else 0
        before, deaths = self._deaths.get(member.name, (0, 0))
        self._deaths[member.name] = step, deaths + 1 if step <= before else 1
        if deaths >= _MOST_DEATHS:
            member.status, member.error = FAILED, f"its process ended {deaths + 1} times at one step: {ended.reason}"
            write_member(self.folder.path, member)
            self._tell(member)
        else:
            log.warning("%s: %s; it is started again", member.name, ended.reason)

    def _fail(self, member: Member, error: str) -> None:
        if member.attempts < self.asked.retries:
            self._retry(member)
            return
        member.status, member.error = FAILED, error
        self._tell(member)
        write_member(self.folder.path, member)

    def _retry(self, member: Member) -> None:
        member.status, member.error = WAITING, None
        member.attempts += 1
        (self.folder.path / member.name / ERROR).unlink(missing_ok=True)
        write_member(self.folder.path, member)

    def _note_results(self, member: Member, run: Run) -> bool:
        """Note the objectives of a run that has paused where it was to, or is finished; return whether it is so."""
        schedule, status = self.asked.schedule, run.facts.get("status")
        pause = schedule.pause(member.target)
        if status == RUN_PAUSED:
            member.status = PAUSED
            if member.target in member.results:
                return True
            if pause is None or not _has_reached(run, pause):
                return False
            new = [member.target]
        elif status == RUN_FINISHED:
            member.status = FINISHED
            new = [rung for rung in range(schedule.last + 1) if rung not in member.results]
        else:
            return False
        if not new:
            return True
        objectives = self._objectives(run.metrics)
        if isinstance(objectives, str):
            member.status, member.error = FAILED, objectives
        else:
            member.results |= dict.fromkeys(new, objectives)
        write_member(self.folder.path, member)
        self._tell(member)
        return True

    def _objectives(self, metrics: Mapping[str, float]) -> tuple[float, ...] | str:
        missing = [each.metric for each in self.asked.objectives if each.metric not in metrics]
        if missing:
            logged = ", ".join(sorted(metrics)) or "nothing"
            return f"{' and '.join(missing)} was not logged, so the experiment has no objective; logged: {logged}"
        return tuple(metrics[each.metric] for each in self.asked.objectives)

    def _stop_adopted(self) -> None:
        # What somebody runs by hand is not the experiment's to stop.
        for name in [name for name in self._adopted if not is_held(self.folder.path / name / MEMBER_LOCK)]:
            self._adopted.pop(name)
        told: set[int] = set()
        while self._adopted:
            holders = [holder(self.folder.path / name / MEMBER_LOCK) for name in self._adopted]
            for pid in {pid for pid in holders if pid is not None} - told:
                told.add(pid)
                with suppress(OSError):
                    os.kill(pid, signal.SIGTERM)
            self.wait(_TICK)


def _has_reached(run: Run, pause: tuple[str, float]) -> bool:
    counter, value = pause
    progress = run.facts.get("progress") or {}
    # Of a time, that it has paused says so: it pauses for nothing else.
    return counter == "trainer::max_time" or progress.get(PROGRESS[counter], 0) >= value
