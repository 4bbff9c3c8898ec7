"""A launched fit, preempted and requeued at random moments by a real SLURM.

`python -m tests.faults.inject_preemptions`. A moment is anywhere in the imports, the set-up, a step, a validation or a
save. There are three kinds: the signal before the time limit, a requeue by SLURM (SIGTERM, and SIGKILL if the fit does
not end), as at a preemption, and a node that fails (SIGKILL without a word, then a requeue). Afterwards the fit has the
bits of one that nobody interrupted, in one folder, with one curve.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from lighter.processes import slurm_queue as queue
from tests.commands import LIGHTER, TESTS
from tests.experiments.fits import config_file, fitted, weights
from tests.faults.table import Results, main
from tests.slurm_node import hurry, live, reason_to_skip, scontrol, tell, wait_for_job

TIMES, SHORT = 20, 3
EPOCHS = 30  # of ten steps
SECONDS = 0.15  # of a step
LATE = 900.0
KINDS = ("limit", "requeue", "node")


def run(short: bool) -> Results:
    """Interrupt one fit again and again, and compare it with one that is left alone."""
    results, moments = Results("a launched fit, preempted and requeued"), random.Random(20)
    assert not reason_to_skip(), reason_to_skip()
    with tempfile.TemporaryDirectory() as name:
        desk, alone = Path(name, "desk"), Path(name, "alone")
        times, epochs = (SHORT, 6) if short else (TIMES, EPOCHS)
        for folder, seconds in ((desk, SECONDS), (alone, 0.0)):
            folder.mkdir()
            config_file(folder, seconds, epochs)
        lighter(alone, "fit", "config.yaml")
        # of all requeues, these are some: SLURM may need another try
        lighter(desk, "fit", "config.yaml", "--launch", "slurm", "launch::requeue=200")
        try:
            kinds = interrupt(only_run(desk), times, moments)
            finish(only_run(desk))
        finally:
            for job in live(only_run(desk).name):
                queue.cancel([job.id])
        compare(results, desk, alone, kinds)
        results.row("interrupted as often as asked").add(str(kinds), held=kinds.total() == times)
    return results


def lighter(cwd: Path, *words: str) -> None:
    """Run a command; what it prints is shown if it fails."""
    done = subprocess.run([LIGHTER, *words], cwd=cwd, env={**os.environ, **TESTS}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def only_run(desk: Path) -> Path:
    """The folder of the only run at a desk."""
    (folder,) = desk.glob("outputs/*/*")
    return folder


def interrupt(folder: Path, times: int, moments: random.Random) -> Counter[str]:
    """Interrupt a job at random moments; return how often in which way."""
    kinds: Counter[str] = Counter()
    while kinds.total() < times:
        job = wait_for_job(folder.name, queue.RUNNING)
        if job is None:
            break
        kind = KINDS[kinds.total() % len(KINDS)]
        # half of the moments are in the imports and the set-up; but a fit whose limit comes before it has made a step
        # is not requeued, as it would be so forever
        in_training = kind == "limit" or moments.random() < 0.5
        if in_training:
            wait_for_step(folder)
        time.sleep(moments.uniform(0, 3 if in_training else 12))
        job = next(iter(live(folder.name)), None)
        if job is None or job.state != queue.RUNNING:
            break
        strike(folder, job.id, kind)
        kinds[kind] += 1
        print(f"{kinds.total()}: {kind}, step {steps(folder)}", flush=True)
        wait_until_requeued(folder, job.id)
    return kinds


def strike(folder: Path, job: str, kind: str) -> None:
    """Do to a job what SLURM or a failing node does."""
    if kind == "limit":
        tell(job)
    elif kind == "requeue":
        scontrol("requeue", job)
    else:
        # not `scancel --signal=KILL`, which begins with SIGTERM
        for pid in pids(job):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for_job(folder.name, "none of them")  # until it is over
        scontrol("requeue", job)


def pids(job: str) -> list[int]:
    """The processes of a job on this machine."""
    done = subprocess.run(["scontrol", "listpids", job], capture_output=True, text=True, timeout=60)
    listed = [line.split()[0] for line in done.stdout.splitlines()[1:] if line.strip()]
    return [int(pid) for pid in listed if pid.isdecimal()]


def wait_until_requeued(folder: Path, job: str) -> None:
    late = time.monotonic() + 90
    while time.monotonic() < late:
        now = (queue.jobs() or {}).get(job)
        if now is not None and now.state == queue.PENDING:
            return
        time.sleep(0.2)


def wait_for_step(folder: Path) -> None:
    """Wait until a start has made a step more."""
    before, late = fitted(folder), time.monotonic() + 90
    logged = (folder / "metrics.csv").stat().st_size if (folder / "metrics.csv").exists() else 0
    while time.monotonic() < late and live(folder.name):
        path = folder / "metrics.csv"
        if fitted(folder) > before or (path.exists() and path.stat().st_size > logged):
            return
        time.sleep(0.1)


def steps(folder: Path) -> int:
    """How far the record says that the fit is."""
    with suppress(OSError, ValueError):
        return int((json.loads((folder / "run.json").read_text()).get("progress") or {}).get("step") or 0)
    return 0


def finish(folder: Path) -> None:
    """Wait for the end of the job."""
    late = time.monotonic() + LATE
    while live(folder.name):
        assert time.monotonic() < late, live(folder.name)
        hurry(folder.name)
        time.sleep(0.5)


def compare(results: Results, desk: Path, alone: Path, kinds: Counter[str]) -> None:
    folder, other = only_run(desk), only_run(alone)
    record = json.loads((folder / "run.json").read_text())
    log = "".join(path.read_text() for path in sorted(folder.glob("slurm/*.out")))
    case = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
    results.row("the fit is finished").add(case, held=record["status"] == "finished", why=log[-3000:])
    if record["status"] != "finished":
        return
    results.row("its weights have the bits of a fit that was left alone").add(
        case, held=weights(folder) == weights(other)
    )
    curves = [(each / "metrics.csv").read_text() for each in (folder, other)]
    results.row("its curve is that fit's, row by row").add(case, held=curves[0] == curves[1])
    losses = [(each / "losses.csv").read_text() for each in (folder, other)]
    results.row("its first losses are that fit's").add(case, held=losses[0] == losses[1])
    starts = len(record.get("starts") or [])
    print(f"{starts + 1} starts on record: {Counter(start['status'] for start in record.get('starts') or [])}")


if __name__ == "__main__":
    if reason_to_skip():
        print(f"skipped: {reason_to_skip()}")
        sys.exit(0)
    sys.exit(main(run))
