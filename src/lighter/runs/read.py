"""Read a run: its record, its tags, and whether its process still runs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lighter.errors import RunError
from lighter.files import run_folder as paths
from lighter.files.atomic import read_text, write_whole
from lighter.files.lock import LOCK, excludes_other_hosts, waited_for
from lighter.processes import slurm, slurm_queue
from lighter.processes.identity import is_gone, is_here
from lighter.processes.slurm import JOB
from lighter.runs.schema import RECORD, fault
from lighter.runs.secrets import Secrets

if TYPE_CHECKING:
    from lighter.runs.curves import Curve

STATUSES = ("running", "finished", "failed", "interrupted", "lost", "paused", "pending", "requeued")
# the facts that the status of now is worked out from
_OF_STATUS = ("host", "pid", "process_started", "slurm", "launch")
RUNNING, FINISHED, FAILED, INTERRUPTED, LOST, PAUSED, PENDING, REQUEUED = STATUSES


@dataclass(frozen=True)
class Run:
    """A run's folder, its record (`run.json`) and its tags."""

    folder: paths.RunFolder
    facts: dict[str, Any]
    tags: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.folder.id

    @property
    def status(self) -> str:
        """One of `STATUSES`; of a run on another host whose process is gone, it is still `running`."""
        return state_of(self.facts, self.folder.path)[0]

    @property
    def reason(self) -> str:
        """Why it has this status, as far as SLURM says: `Priority`, `SLURM: CANCELLED`."""
        return state_of(self.facts, self.folder.path)[1]

    @property
    def metrics(self) -> dict[str, float]:
        """The last values of the run; of one that did not come to its end, those that it logged of epochs."""
        recorded = {name: float(value) for name, value in (self.facts.get("metrics") or {}).items()}
        if self.facts.get("status") in (FINISHED, PAUSED) and "metrics" in self.facts:
            return recorded
        return {**recorded, **{curve.name: curve.values[-1] for curve in self._curves()}}

    @property
    def ranges(self) -> dict[str, list[float]]:
        """The lowest and the highest value of each metric over the epochs."""
        # the last value, of one that has no curve
        ranges = {name: [value, value] for name, value in self.metrics.items()}
        for curve in self._curves():
            values = [value for value in curve.values if math.isfinite(value)]
            ranges |= {curve.name: [min(values), max(values)]} if values else {}
        return ranges

    @property
    def seconds(self) -> float | None:
        """Seconds that it ran, all its starts together."""
        known = [one["seconds"] for one in (*(self.facts.get("starts") or []), self.facts) if one.get("seconds")]
        return round(sum(map(float, known)), 1) if known else None

    def _repr_html_(self) -> str:
        from lighter.display.html import to_html
        from lighter.runs.views import pieces_of_run

        return to_html(pieces_of_run(self))

    def _curves(self) -> list[Curve]:
        from lighter.runs.curves import curves_of

        return [curve for curve in curves_of(self) if "/step" not in curve.name]

    def summary(self) -> dict[str, Any]:
        """Return the facts that a table of runs shows."""
        kept = ("name", "stage", "status", *_OF_STATUS, "started", "progress", "safe")
        return {
            "id": self.id,
            **{key: self.facts.get(key) for key in kept},
            "seconds": self.seconds,
            "tags": list(self.tags),
            "metrics": self.metrics,
            "ranges": self.ranges,
        }


def trusted(run: Run) -> Run:
    """Return the same run, if its config is trusted: a resumed or repeated run is outside of safe mode.

    Raises:
        RunError: it ran in safe mode.
    """
    if run.facts.get("safe"):
        raise RunError(
            f"{run.id} ran in safe mode, and this would run its config as one that you trust. Start from what it saved:"
            f" lighter {run.facts.get('stage')} {run.folder.config} --safe --ckpt_path PATH"
        )
    return run


def state_of(facts: dict[str, Any], folder: str | Path) -> tuple[str, str]:
    """Return the status of now, and what SLURM says of it if the run was launched as a job; nothing of others.

    It is that in the record; `lost` if the record says that it runs, and its process is gone. Of a run that was
    launched, the queue says more: it waits, was requeued, or its job is over.
    """
    status, launch = str(facts.get("status")), facts.get("launch")
    gone = is_gone(facts.get("host"), facts.get("pid"), facts.get("process_started"))
    if launch and status in (PENDING, RUNNING, INTERRUPTED) and not is_own_job(facts):
        job, is_known = slurm_queue.find(launch["name"], launch.get("user"))
        if job is not None and job.state not in slurm_queue.OVER:
            return _of_live_job(status, job)
        # its submission is under way
        is_begun = status != PENDING or gone or not is_here(facts.get("host"))
        if is_known and is_begun and status != INTERRUPTED:
            reason = slurm_queue.ending_of(job, log_of_job(facts, Path(folder)))
            return (launch.get("before") if status == PENDING else None) or LOST, reason
    if status != RUNNING:
        return status, ""
    return (LOST if gone or slurm.is_over(facts.get("slurm")) else status), ""


def is_own_job(facts: dict[str, Any]) -> bool:
    """Return whether this process is in the job that was launched for the run."""
    return bool(facts.get("launch")) and os.environ.get(JOB) == facts["launch"]["name"]


def log_of_job(facts: dict[str, Any], folder: Path) -> Path | None:
    """Return the file with what the job has printed that was launched last; None if it has not begun."""
    try:
        since = datetime.fromisoformat(facts["launch"]["submitted"]).timestamp()
    except (KeyError, ValueError):  # of a record that was edited
        return None
    logs = [(path.stat().st_mtime, path) for path in folder.glob(f"{paths.JOBS}/*_0_log.out")]
    changed, log = max(logs, default=(0.0, None))
    return log if changed >= since else None


def _has_live_job(facts: dict[str, Any]) -> bool:
    launch = facts.get("launch")
    job = slurm_queue.find(launch["name"], launch.get("user"))[0] if launch and not is_own_job(facts) else None
    return job is not None and job.state not in slurm_queue.OVER


def _of_live_job(status: str, job: slurm_queue.Job) -> tuple[str, str]:
    if job.state == slurm_queue.PENDING:
        return (PENDING if status == PENDING else REQUEUED), job.waits_for
    # a record of its start before this one says `interrupted` until this one has imported
    return RUNNING, "starting" if status == PENDING else ""


def refuse_running(run: Run) -> None:
    """See that a run has ended, before this process writes into its folder, whose lock it has.

    Raises:
        RunError: it runs, or nobody can tell.
    """
    host, status = run.facts.get("host"), run.status
    waits = status in (PENDING, REQUEUED) and not is_own_job(run.facts)
    if waits or (status == RUNNING and _has_live_job(run.facts)):
        does = "waits for" if waits else "runs in"
        name, why = run.facts["launch"]["name"], f" ({run.reason})" if run.reason else ""
        raise RunError(f"{run.id} {does} its job in SLURM{why}. First: scancel --name={name}")
    # a run on another host is over if it would have that lock: the host went down, or the job was started elsewhere
    if status != RUNNING or (not is_here(host) and excludes_other_hosts(run.folder.path / LOCK)):
        return
    message = f"{run.id} is running (process {run.facts.get('pid')} on {host}); two processes cannot share its folder"
    if not is_here(host):
        message += (
            f". Locks do not tell here whether that is so, as its file system may not have them across hosts. If it is"
            f' gone, write "lost" for "running" as the status in {run.folder.record}'
        )
    raise RunError(message)


def read_run(path: Path) -> Run:
    """Read a run's record.

    Raises:
        RunError: there is none, or it cannot be read.
    """
    folder = paths.RunFolder(path)
    try:
        text = read_text(folder.record)
        facts = json.loads(text)
        if "\\ud" in text.lower():  # half of a character, which JSON can spell and no terminal can print
            json.dumps(facts, ensure_ascii=False).encode()
    except FileNotFoundError:
        raise RunError(f"{path} has no {paths.RECORD}, so nothing is known of it as a run") from None
    except (OSError, ValueError, RecursionError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise RunError(f"{folder.record} cannot be read: {what}") from error
    wrong = fault(facts, RECORD)
    if wrong is not None:
        raise RunError(f"{folder.record} is no record of a run: {wrong}")
    return Run(folder, {"name": paths.name_of(path), **facts}, _tags(folder))


def change_tags(folder: paths.RunFolder, added: Sequence[str], removed: Sequence[str]) -> Run:
    # they are kept beside the record, which a running process writes; two that tag take turns, so that no tag is lost
    run = read_run(folder.path)
    with waited_for(folder.path / f".{paths.TAGS}.lock"):
        tags = _tags(folder)
        named = {Secrets().text(tag) for tag in added}
        kept = tuple(sorted({*tags, *named} - {*removed}))
        if kept != tuple(sorted(tags)):
            write_whole(folder.path / paths.TAGS, json.dumps(kept) + "\n")
    return Run(folder, run.facts, kept)


def _tags(folder: paths.RunFolder) -> tuple[str, ...]:
    try:
        tags = json.loads(read_text(folder.path / paths.TAGS))
    except (OSError, ValueError, RecursionError):
        return ()
    return tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
