"""Within a job of SLURM: run something, and requeue the job if its time is over or it is preempted.

submitit could do that at a signal by itself, but in the middle of a step. Here the signal only asks the fit to stop,
which saves after a batch; the job is requeued once that is done.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from lighter.processes.ranks import is_rank_zero
from lighter.processes.signals import STOPS, Stopped, stop_signals

SIGNAL = signal.SIGUSR1
"""SLURM sends it some time before the limit. SIGTERM is of `scancel` and the coordinator, or of a preemption."""
STOPPED = 128 + signal.SIGTERM
"""The exit code of what SIGTERM has stopped."""
_NO_SRUN = "The `srun` command is available on your system but is not used"


def begin() -> None:
    """Prepare the process that submitit has started in a job."""
    catchable_signals()
    signal.signal(signal.SIGCONT, signal.SIG_DFL)  # SLURM sends it along, and submitit would print that each time
    if os.environ.get("SLURM_NTASKS", "1") == "1":
        _start_devices_by_lightning()


def run_and_requeue(run: Callable[[], int], steps: Callable[[], int], most: int | None = None) -> NoReturn:
    """Run a function and end the process with its exit code; requeue the job where that is due.

    Args:
        run: returns an exit code, 128 + n if signal n stopped it.
        steps: returns how much work was done so far; a job that does none is not requeued.
        most: how often the job is requeued at most; None for no limit.

    Raises:
        SystemExit: always, so that SLURM's records tell a failure too.
    """
    before, done = steps(), restarts()
    if most is not None and done > most:
        _say(f"The job was requeued {done} times, and {most} are allowed: `requeue`, in the config. It ends here.")
        sys.exit(STOPPED)
    code = run()
    if is_rank_zero() and (code == 128 + SIGNAL or (code == STOPPED and _is_preempted())):
        if most == 0:
            _say("The job is not requeued, as nobody asked for that: --requeue, or launch::requeue=true")
        elif steps() <= before:
            # it would do so forever
            _say("The job is not requeued: its fit has made no step. Is its time limit too short?")
        elif most is not None and done >= most:
            _say(f"The job is not requeued: {most} times are allowed (`requeue`, in the config).")
        else:
            _requeue()
    sys.exit(code)


def caught(run: Callable[[], int]) -> int:
    """Call a function that returns an exit code; a signal, during its imports too, becomes the code of a stop."""
    try:
        with stop_signals():
            return run()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Stopped as stopped:
        return 128 + stopped.signum


def catchable_signals() -> None:
    """Take the signals back from whoever started this process.

    A handler that is not Python's own counts as the user's, and keeps its signal. submitit's ignores SIGTERM; Ray's
    raises wherever the fit just is.
    """
    for signum in STOPS:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)


def restarts() -> int:
    """Return how often this job was requeued."""
    count = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(count) if count.isdecimal() else 0


def steps_of(record: Path) -> int:
    """Return how many steps the starts of a fit have made, by its `run.json`."""
    # not how far it is: after a node failure that may be ahead of the checkpoint from which the next start begins
    try:
        return int(json.loads(record.read_bytes()).get("steps_made") or 0)
    except (OSError, ValueError):
        return 0


def _start_devices_by_lightning() -> None:
    # Lightning expects a task of SLURM's for each device, unless the job has this name. Then it starts the processes of
    # the devices itself, as everywhere else, and has a hint that does not apply.
    os.environ["SLURM_JOB_NAME"] = "interactive"
    warnings.filterwarnings("ignore", _NO_SRUN)


def _job() -> str:
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


def _is_preempted() -> bool:
    # SLURM requeues what it has to kill at the end of the grace time, and this process is over before that
    facts = re.search(r"\bPreemptTime=(\S+)", _scontrol("show", "job", _job()).stdout)
    return facts is not None and facts[1] != "None"


def _requeue() -> None:
    done = _scontrol("requeue", _job())
    # If it was not possible, whoever reads the run's status sees the job's end.
    _say(f"requeue of job {_job()}: {done.stderr.strip() if done.returncode else 'done'}")


def _say(text: str) -> None:
    print(text, flush=True)


def _scontrol(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["scontrol", *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
