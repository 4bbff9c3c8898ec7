"""A real SLURM for tests, where there is one: `slurm-node start DIR` starts it, SLURM_CONF says where it is.

SLURM lets a requeued job wait for two minutes; `hurry` tells it to begin at once.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from functools import cache

from lighter.processes import slurm_queue as queue


@cache
def reason_to_skip() -> str:
    if shutil.which("sbatch") is None:
        return "no SLURM: sbatch is not on the PATH"
    try:
        done = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"SLURM does not answer: {error}"
    return f"SLURM does not answer: {done.stderr}" if done.returncode else ""


def live(name: str) -> list[queue.Job]:
    """The jobs whose names begin so, and that are not over."""
    return [job for job in (queue.jobs() or {}).values() if job.name.startswith(name) and job.state not in queue.OVER]


def hurry(name: str) -> None:
    """Let requeued jobs begin at once."""
    for job in live(name):
        if job.reason == "BeginTime":
            scontrol("update", f"jobid={job.id}", "starttime=now")


def tell(job: str, signal: str = "USR1") -> None:
    """Send a signal to the processes of a job, once.

    While other jobs of its array wait, `scancel` sends it, is told that it could not, and sends it again for a minute:
    to the next start of the job too.
    """
    command = ["scancel", "--verbose", f"--signal={signal}", job]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as sent:
        for line in sent.stderr or ():
            if "retrying" in line:
                sent.kill()


def scontrol(*words: str) -> None:
    subprocess.run(["scontrol", *words], capture_output=True, timeout=60)


def wait_for_job(name: str, *states: str, seconds: float = 600.0) -> queue.Job | None:
    """Hurry a job until it is in one of these states; None if there is none, or it is over."""
    late = time.monotonic() + seconds
    while True:
        jobs = live(name)
        if not jobs or jobs[0].state in states:
            return jobs[0] if jobs else None
        assert time.monotonic() < late, jobs
        hurry(name)
        time.sleep(0.3)
