"""The job of SLURM in which an experiment's coordinator runs, if it was launched: its file, and its state of now.

EXP/launch.json is written when the job is submitted. A coordinator that starts in this job adds how often it was
requeued, and one that starts elsewhere removes the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lighter.errors import RunError
from lighter.files.atomic import write_whole
from lighter.files.run_folder import JOBS
from lighter.processes import slurm, slurm_queue
from lighter.processes.slurm import JOB
from lighter.runs.read import PENDING, REQUEUED, RUNNING

LAUNCH = "launch.json"
OVER, UNKNOWN = "over", "unknown"


@dataclass(frozen=True)
class CoordinatorJob:
    """A coordinator's job.

    Attributes:
        number: SLURM's.
        name: its own, by which the queue is asked for it.
        state: `pending`, `running`, `requeued`, `over`; `unknown` if the queue cannot be asked.
        reason: why it waits, or how it ended: `Priority`, `SLURM: TIMEOUT`.
        restarts: how often it was requeued.
    """

    number: str
    name: str
    state: str
    reason: str
    restarts: int

    @property
    def is_live(self) -> bool:
        return self.state not in (OVER, UNKNOWN)

    @property
    def text(self) -> str:
        """Its state in words for messages: `waits in SLURM (Priority)`."""
        why = f" ({self.reason})" if self.reason else ""
        return f"{'runs' if self.state == RUNNING else 'waits'} in SLURM{why}"

    def public(self) -> dict[str, Any]:
        """Return its facts for programs."""
        facts = {"job": self.number, "name": self.name, "state": self.state, "reason": self.reason}
        return {**facts, "restarts": self.restarts}


def note_submission(experiment: Path, facts: Mapping[str, Any]) -> None:
    """Write that a job was submitted for an experiment's coordinator: its `job`, `name` and `user`."""
    write_whole(experiment / LAUNCH, json.dumps(facts, indent=1) + "\n")


def note_start(experiment: Path) -> None:
    """Note where a coordinator starts: in the job that was submitted for it, or elsewhere."""
    facts = _facts(experiment)
    if facts is not None and os.environ.get(JOB) == facts["name"]:
        note_submission(experiment, {**facts, "slurm": slurm.job()})
    else:
        (experiment / LAUNCH).unlink(missing_ok=True)


def refuse_second(experiment: Path) -> None:
    """See that no coordinator's job waits or runs, before another one is submitted or starts.

    Raises:
        RunError: one does.
    """
    job = job_of(experiment)
    if job is None or not job.is_live or os.environ.get(JOB) == job.name:
        return
    raise RunError(f"the job of this experiment's coordinator {job.text}. First: scancel {job.number}")


def job_of(experiment: Path) -> CoordinatorJob | None:
    """Return the job of an experiment's coordinator as it is now; None if it was not launched."""
    facts = _facts(experiment)
    if facts is None:
        return None
    begun, name = facts.get("slurm") or {}, facts["name"]
    state, reason = RUNNING, ""
    if os.environ.get(JOB) != name:
        job, is_known = slurm_queue.find(name, facts.get("user"))
        state, reason = _state(job, is_known=is_known, has_begun=bool(begun))
        if state == OVER and (job is None or job.state != slurm_queue.COMPLETED):
            reason = slurm_queue.ending_of(job, experiment / JOBS / f"{facts.get('job')}_0_log.out")
    return CoordinatorJob(str(facts.get("job")), name, state, reason, int(begun.get("restarts") or 0))


def _state(job: slurm_queue.Job | None, *, is_known: bool, has_begun: bool) -> tuple[str, str]:
    if job is None:
        return OVER if is_known else UNKNOWN, ""
    if job.state in slurm_queue.OVER:
        return OVER, ""
    if job.state != slurm_queue.PENDING:
        return RUNNING, ""
    return REQUEUED if has_begun else PENDING, job.waits_for


def _facts(experiment: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads((experiment / LAUNCH).read_bytes())
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and isinstance(facts.get("name"), str) else None
