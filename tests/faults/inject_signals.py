"""Signals at random moments: each stage stops with 128 + n, a fit with a checkpoint that is between two batches.

A warm process forks one that is the command line, so that a try costs a second. `python -m tests.faults.inject_signals`
sends 4 signals in 4 stages 10 times, half of them to the whole group of a job with two workers, then a second signal to
jobs that hang, then signals to one of two processes and to both; `--short` does a tenth of it.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from lighter.config.yaml import dump
from tests.commands import TESTS, Process
from tests.faults.signal_jobs import config
from tests.faults.table import Results, main
from tests.forks import rank_variables

SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")
STAGES = ("fit", "validate", "test", "predict")
SEED = 10
PATIENCE = 300.0
SECOND = 2.0


class Command(Process):
    """A command on a desk, of one of the ranks of its run; what it prints is in a file there."""

    def __init__(
        self, desk: Path, *words: str, environment: Mapping[str, str] | None = None, said: str = "output"
    ) -> None:
        environment = {**TESTS, **(environment or {})}
        self.output = desk / f"{said}-{environment.get('LOCAL_RANK', '0')}.txt"
        super().__init__("lighter", *words, cwd=desk, environment=environment, output=self.output)

    def send(self, name: str, *, to_group: bool = False) -> None:
        self.send_signal(signal.Signals[name], to_group=to_group)

    def code(self, seconds: float = PATIENCE) -> int:
        """The exit code as a shell has it, waiting for it; -1 if it does not end, and then it is killed."""
        try:
            ended = self.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_group()
            self.wait()
            return -1
        return ended if ended >= 0 else 128 - ended

    def said(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""


@contextlib.contextmanager
def a_desk(**options: Any) -> Iterator[Path]:
    """A folder with a job in it."""
    with tempfile.TemporaryDirectory(prefix="lighter-signals-") as place:
        trainer = options.pop("trainer", {})
        job = config(**options)
        job["trainer"] |= trainer
        (Path(place) / "job.yaml").write_text(dump(job))
        yield Path(place)


def record(desk: Path) -> dict[str, Any]:
    found = list(desk.glob("outputs/*/*/run.json"))
    return json.loads(found[0].read_text()) if found else {}


def checkpoint(desk: Path) -> dict[str, Any] | None:
    found = list(desk.glob("outputs/*/*/checkpoints/last.ckpt"))
    return torch.load(found[0], weights_only=True) if found else None


def wrong(desk: Path, stage: str, sent: str, code: int, said: str) -> str:
    """What is not as it should be after a stop; empty if all is."""
    if code != 128 + signal.Signals[sent]:
        return f"exit code {code}: {said[-1500:]}"
    if "Traceback" in said:
        return f"a traceback: {said[-1500:]}"
    facts = record(desk)
    if facts and (facts.get("status"), facts.get("signal")) != ("interrupted", sent):
        return f"the record says {facts.get('status')}, {facts.get('signal')}"
    return wrong_checkpoint(desk, facts) if stage == "fit" and facts else ""


def wrong_checkpoint(desk: Path, facts: dict[str, Any]) -> str:
    saved, step = checkpoint(desk), (facts.get("progress") or {}).get("step", 0)
    if saved is None:
        return f"{step} steps, and no checkpoint" if step else ""
    if saved["global_step"] != step:
        return f"the checkpoint is of step {saved['global_step']}, and {step} were done"
    batches = saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]
    if batches["ready"] != batches["completed"] or batches["completed"] != step:
        return f"the checkpoint is within a batch: {batches}"
    return ""


def one_signal(results: Results, tries: Iterable[tuple[str, str, int]]) -> None:
    """A signal at a random moment: while the command starts, sets up, trains, validates or ends an epoch."""
    moments = random.Random(SEED)
    for number, (stage, sent, workers) in enumerate(tries):
        row = results.row(f"one signal, {'to the group, 2 workers' if workers else 'no workers'}: 128 + n, saved")
        delay = moments.uniform(0.02, 3.0)
        size = 24 if stage == "fit" else 24_000
        with a_desk(seconds=0.02, size=size, workers=workers, epochs=1000) as desk:
            command = Command(desk, stage, "job.yaml")
            time.sleep(delay)
            command.send(sent, to_group=bool(workers))
            why = wrong(desk, stage, sent, command.code(), command.said())
        row.add(f"try {number}: {stage}, {sent} after {delay:.3f} s, {workers} workers", held=not why, why=why)


def two_signals(results: Results, times: int) -> None:
    """A step that takes a minute: the second signal does not wait for it."""
    row = results.row(f"a second signal, in a step that hangs: 128 + n within {SECOND:.0f} s")
    for number in range(times):
        stage, first, second = STAGES[number % 4], SIGNALS[number % 4], SIGNALS[number // 4 % 4]
        with a_desk(seconds=60, workers=2 * (number % 2), trainer={"num_sanity_val_steps": 0}) as desk:
            command = Command(desk, stage, "job.yaml")
            command.wait_until(lambda desk=desk: bool(record(desk).get("data")))
            time.sleep(0.5)
            command.send(first)
            time.sleep(0.7)
            command.send(second)
            began = time.monotonic()
            code, seconds = command.code(30), time.monotonic() - began
            status = record(desk).get("status")
            held = code == 128 + signal.Signals[second] and seconds < SECOND and status == "interrupted"
            row.add(f"{stage}, {first}, {second}", held=held, why=f"{code} after {seconds:.1f} s, {status}")


def two_processes(results: Results, times: int) -> None:
    """A signal to one of two processes, or to both with their workers: both stop after the same step."""
    moments = random.Random(SEED)
    row = results.row("two processes: both stop with 128 + n, at the same step, saved")
    ddp = {"strategy": "ddp", "devices": 2, "use_distributed_sampler": False}
    for number in range(times):
        stage, sent, to = STAGES[number % 4], SIGNALS[number // 4 % 4], moments.choice(["first", "second", "both"])
        job = {"size": 24 if stage == "fit" else 24_000, "epochs": 1000, "workers": 2 * (number % 2)}
        with a_desk(seconds=0.02, trainer=ddp, normalizes=bool(number // 2 % 2), **job) as desk:
            ranks = [Command(desk, stage, "job.yaml", environment=of_rank) for of_rank in rank_variables(2)]
            ranks[0].wait_until(lambda desk=desk: bool(record(desk).get("data")))
            time.sleep(moments.random() * (3 if stage == "fit" else 1))
            for rank in {"first": ranks[:1], "second": ranks[1:], "both": ranks}[to]:
                rank.send(sent, to_group=to == "both")
            codes = [rank.code() for rank in ranks]
            said = "".join(rank.said() for rank in ranks)
            why = wrong(desk, stage, sent, codes[0], said)
            why = why or ("" if codes[0] == codes[1] else f"the second ended with {codes[1]}: {said[-1500:]}")
        row.add(f"{stage}, {sent} to {to}, {2 * (number % 2)} workers, try {number}", held=not why, why=why)


def inject(short: bool) -> Results:
    """All of it, or a share."""
    results = Results("Signals")
    whole = [(stage, sent, 2 * (time % 2)) for stage in STAGES for sent in SIGNALS for time in range(10)]
    share = [(STAGES[at], SIGNALS[(at + shift) % 4], 2 * shift) for at in range(4) for shift in (0, 1)]
    one_signal(results, share if short else whole)
    two_signals(results, 2 if short else 16)
    two_processes(results, 2 if short else 48)
    return results


if __name__ == "__main__":
    sys.exit(main(inject))
