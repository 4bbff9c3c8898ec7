"""Members as jobs of SLURM, through submitit; those that start together are one array.

A member whose time ends is told, saves, and requeues its own job (`slurm_job`), so nothing here needs to run meanwhile.
A coordinator that was killed leaves its jobs to the next one: a file with the members of each array is written before
the array is submitted under a name of its own, so that `squeue` leads back to the members.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lighter.errors import LaunchError, RunError
from lighter.experiments.executors.base import Ended, Task
from lighter.experiments.executors.process import ENTRY
from lighter.experiments.executors.settings import PATH, SlurmSettings
from lighter.experiments.executors.slurm_job import run_in_job
from lighter.files.atomic import write_whole
from lighter.launch.submission import FOLDER, MOST_IN_ARRAY, require, submitter, submitting
from lighter.processes import slurm_queue as queue

log = logging.getLogger("lighter.experiments")

_ELSEWHERE = "Start the experiment where jobs are submitted, or here: experiment::executor::kind=local"
_POLL = 5.0  # seconds between two questions to the controller
_RETRY = 30.0  # seconds until a refused submission is tried again
_PATIENCE = 600.0  # seconds that members have to save when all are stopped
_TRANSITION = 3.0  # seconds after which a job that has failed stays so
_NO_LIMIT = 10_000


class SlurmExecutor:
    """Start members as jobs.

    Args:
        folder: of the experiment, on a disk that all nodes share.
        entry: the function that runs a task, `module:name`.
        poll: seconds between two questions to the controller.

    Raises:
        ConfigError: submitit is missing, or SLURM.
    """

    def __init__(self, settings: SlurmSettings, folder: Path, entry: str = ENTRY, poll: float = _POLL) -> None:
        require(f"{PATH}::kind", _ELSEWHERE)
        self._settings, self._entry, self._poll = settings, entry, poll
        self._folder = folder.absolute() / FOLDER
        self._name = folder.absolute().name
        self._waiting: list[Task] = []
        self._jobs: dict[str, Path] = {}
        self._stopped: list[Ended] = []
        self._over_since: dict[str, float] = {}
        self._names: set[str] = set()
        self._next_poll = self._next_submission = 0.0
        self._reasons: set[str] = set()

    def __enter__(self) -> SlurmExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def adopt(self) -> Sequence[Path]:
        """Return the members of jobs that an earlier coordinator has submitted, and that are not over."""
        lists = {path.stem: json.loads(path.read_bytes()) for path in self._folder.glob("*.json")}
        jobs = queue.jobs() if lists else {}
        if jobs is None:
            raise RunError("SLURM does not answer, so nobody knows which members still run")
        for job in jobs.values():
            if job.name in lists and job.state not in queue.OVER:
                self._jobs[job.id] = Path(lists[job.name][job.index])
                self._names.add(job.name)
        return list(self._jobs.values())

    def free(self) -> int:
        limit = self._settings.workers or _NO_LIMIT
        return max(limit - len(self._jobs) - len(self._waiting), 0)

    def start(self, task: Task) -> None:
        """Start a member with the next `ended`, together with all others until then."""
        environment = {"OMP_NUM_THREADS": str(self._settings.cpus), **task.environment}
        self._waiting.append(replace(task, environment=environment))

    def ended(self, timeout: float) -> Sequence[Ended]:
        """Wait for jobs that end.

        Raises:
            LaunchError: SLURM refuses the first jobs.
        """
        until = time.monotonic() + timeout
        while True:
            self._submit_waiting()
            over, self._stopped = [*self._stopped, *self._look()], []
            left = until - time.monotonic()
            if over or left <= 0:
                return over
            until_look = self._next_poll - time.monotonic() if self._jobs else left
            time.sleep(min(left, max(until_look, 0.05)))

    def stop(self) -> None:
        """Tell all members to save and stop; cancel jobs that have not begun, and at last those that do not end."""
        self._waiting.clear()
        for name in self._names if self._jobs else ():
            write_whole(self._folder / f"{name}.stopped", "")
        told: set[str] = set()
        until = time.monotonic() + _PATIENCE
        while self._jobs:
            jobs = queue.jobs()
            if jobs is not None:
                self._stopped += self._forget_ended(jobs)
                states = {job: jobs[job].state for job in self._jobs if job in jobs}
                queue.cancel((job for job, state in states.items() if state == queue.PENDING), "--state=PENDING")
                # once, as a second signal would end them before they have saved
                running = {job for job, state in states.items() if state == queue.RUNNING} - told
                queue.cancel(running, "--signal=TERM")
                told |= running
            if time.monotonic() > until:
                queue.cancel(self._jobs)
            if self._jobs:
                time.sleep(min(self._poll, 1.0))

    def _submit_waiting(self) -> None:
        while self._waiting and time.monotonic() >= self._next_submission:
            tasks = self._waiting[:MOST_IN_ARRAY]
            try:
                self._submit(tasks)
            except RuntimeError as error:  # submitit's, with the text of sbatch
                if not self._jobs:
                    folder = self._folder.parent
                    change = f"change the section, and: lighter experiment resume {folder} {PATH}::partition=..."
                    raise LaunchError(f"SLURM does not take the members' jobs: {error}\nTo go on, {change}") from error
                log.warning("SLURM takes no more jobs now: %s", error)
                self._next_submission = time.monotonic() + _RETRY
                return
            del self._waiting[: len(tasks)]

    def _submit(self, tasks: Sequence[Task]) -> None:
        name = f"{self._name}.{uuid.uuid4().hex[:8]}"
        self._folder.mkdir(exist_ok=True)
        # Before the jobs are there: a coordinator that is killed in between has left a list of no jobs, and never
        # jobs without a list.
        write_whole(self._folder / f"{name}.json", json.dumps([task.folder for task in tasks]))
        self._names.add(name)
        stopped = str(self._folder / f"{name}.stopped")
        executor = submitter(self._folder, self._settings, name, requeue=True)
        with submitting(), executor.batch():
            jobs = [executor.submit(run_in_job, self._entry, task.plain(), stopped) for task in tasks]
        self._jobs.update({job.job_id: Path(task.folder) for job, task in zip(jobs, tasks, strict=True)})

    def _look(self) -> list[Ended]:
        if not self._jobs or time.monotonic() < self._next_poll:
            return []
        jobs = queue.jobs()
        self._next_poll = time.monotonic() + self._poll
        return self._forget_ended(jobs) if jobs is not None else []

    def _forget_ended(self, jobs: Mapping[str, queue.Job]) -> list[Ended]:
        over = []
        for name, folder in list(self._jobs.items()):
            job = jobs.get(name)
            if self._is_over(name, job):
                over.append(Ended(folder, self._reason(name, job), job.code if job is not None else None))
                del self._jobs[name]
            elif job is not None and job.state == queue.PENDING:
                self._warn_of(job)
        return over

    def _is_over(self, name: str, job: queue.Job | None) -> bool:
        if job is not None and job.state not in queue.OVER:
            self._over_since.pop(name, None)
            return False
        if job is not None and job.state == queue.COMPLETED:
            return True
        # A job that is requeued is shown as failed for a moment.
        since = self._over_since.setdefault(name, time.monotonic())
        return time.monotonic() - since >= _TRANSITION

    def _reason(self, name: str, job: queue.Job | None) -> str:
        path = self._folder / f"{name}_0_log.out"
        return f"{queue.ending_of(job, path)} (job {name}, {path})"

    def _warn_of(self, job: queue.Job) -> None:
        if job.reason not in self._reasons and job.reason not in queue.USUAL:
            self._reasons.add(job.reason)
            log.warning("job %s waits: %s", job.id, job.reason)
