"""Fits that are cut short and gone on with, compared bit for bit with fits that nobody cut short.

    python -m tests.faults.inject_resume               # the whole
    python -m tests.faults.inject_resume --short       # what CI runs
    python -m tests.faults.inject_resume --lightning   # with Lightning's random streams: that the script can fail

A job is done once, whole, and what is in its folder is kept at every moment at which a checkpoint was saved. A fit goes
on from each of them. Others are killed at random moments, by kill -9, one to three times, or get a signal within a
validation. In the end all has to be as
if nothing had happened: what is in the checkpoints, the logged rows, and which samples were served, how augmented.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.faults.desk import JOB, Desk, Reference, in_order, scenarios
from tests.faults.jobs import KEEP_CUTS, SAVE_EVERY, SERVED
from tests.faults.outcome import differences
from tests.faults.table import Results, main

SOME = 14  # cuts of a job, at the ends of epochs and elsewhere
STEPS = 45  # of an epoch
LANES, SHARES = 2, 8
KILLED = ("plain", "workers", "accumulation of 2, and a short last window", "plain Lightning", "scheduler by step")
AT_ENDS = ("plain", "validation every second epoch", "accumulation of 2, and a short last window", "no validation")
SHORT = ("plain", "fewer workers", "accumulation of 2, and a short last window", "plain Lightning")
IN_VALIDATION = (  # signals, one after the other, each to the fit that goes on; see `jobs.SignalsItself`
    ("SIGTERM val_start 1 0",),
    ("SIGTERM val_batch 2 0",),
    ("SIGTERM val_batch 9 0", "SIGTERM val_batch_start 1 0", "SIGKILL val_batch 3 0"),
    ("SIGINT val_epoch_end 1 0",),
    ("SIGKILL val_batch 6 0",),
    ("SIGTERM sanity_val_batch 2 0",),
)
OF_SEVERAL = (("SIGTERM val_batch 2 1",), ("SIGTERM val_batch 3 0", "SIGTERM val_batch 1 1"))
VALIDATING = {
    "plain": IN_VALIDATION,
    "several validations of several dataloaders": IN_VALIDATION,
    "plain Lightning, several validations of several dataloaders": IN_VALIDATION,
    "two processes, validation twice an epoch": OF_SEVERAL,
    "two processes, validation while gradients add up": OF_SEVERAL,
}
Findings = list[tuple[str, str, str]]  # a promise, a case of it, and what broke it, or ""


def from_cuts(place: Path, name: str, exact: bool, share: tuple[int, int], count: int | None) -> Findings:
    """Go on from the moments at which checkpoints were saved: from a share of all, or from a number of them."""
    reference = reference_of(place, name, exact)
    cuts = reference.cuts if count is None else _some(reference.cuts, count)
    promise = f"from {'every' if count is None else 'some'} cut: {name}"
    return [(promise, cut.name, reference.resume_at(cut)) for cut in cuts[share[0] :: share[1]]]


def from_epoch_starts(place: Path, name: str, exact: bool, count: int) -> Findings:
    """Go on where the data cannot: the epoch's batches come again from the first, and the fit says so."""
    reference = reference_of(place, name, exact)
    found = []
    for cut in _some(reference.cuts, count):
        differs, desk = reference.resume_at(cut), reference.desk
        if int(cut.name[:3]) % STEPS == 0:
            found.append((f"at the ends of epochs: {name}", cut.name, differs))
        else:
            epoch = int(cut.name[:3]) // STEPS
            wanted, served = (_samples(one.served[".0"][0]) for one in (reference.expected, desk.outcome()))
            says = "resume: from the epoch's start (an iterable dataset without state)" in desk.log
            broken = "" if served == wanted[epoch * STEPS :] and says else f"served {len(served)} batches"
            found.append((f"from the epoch's start, and it says so: {name}", cut.name, broken))
    return found


def _samples(lines: list[str]) -> list[str]:
    return [line.partition("samples=")[2].partition("]")[0] for line in lines if line.startswith("train")]


def at_ends(place: Path, name: str, exact: bool, epochs: int) -> Findings:
    """Go on from each of the checkpoints that are there at the end of an epoch."""
    reference = reference_of(place, name, exact)
    ends = [cut for cut in reference.cuts if cut.name.endswith("epoch")][:epochs]
    return [
        (
            f"at the end of an epoch, each checkpoint: {name}",
            f"{cut.name}, {file.name}",
            reference.resume_at(cut, file.name),
        )
        for cut in ends
        for file in sorted((cut / "checkpoints").glob("*.ckpt"))
    ]


def at_pairs_of_ends(place: Path, name: str, exact: bool, epochs: int) -> Findings:
    """Go on from the end of each epoch, and from there again at the end of each later one."""
    reference, found = reference_of(place, name, exact), []
    for first in [cut for cut in reference.cuts if cut.name.endswith("epoch")][:epochs]:
        cuts = reference.desk.place / f"cuts from {first.name}"
        cuts.mkdir()
        found.append((first.name, reference.resume_at(first, **{KEEP_CUTS: str(cuts)})))
        for second in [cut for cut in in_order(cuts) if cut.name.endswith("epoch")][:epochs]:
            found.append((f"{first.name}, {second.name}", reference.resume_at(second)))
    return [(f"at the ends of two epochs, one after the other: {name}", case, broken) for case, broken in found]


def killed(place: Path, name: str, exact: bool, seed: int) -> Findings:
    """Kill a fit and those that go on from it at random moments; one to three times."""
    whole, seconds = undisturbed(place, name, exact)
    desk, moments = Desk(_new(place, f"killed {seed}"), scenarios()[name], exact), random.Random(seed)
    wanted, kills = moments.randint(1, 3), 0
    try:
        while kills < wanted:
            job = desk.go_on if desk.has_checkpoint else desk.fit
            if job == desk.fit:
                desk.clear()
                kills = 0
            ended = desk.do(job, moments.uniform(0.1, 0.9 / (kills + 1)) * seconds, **{SAVE_EVERY: "7"})
            if ended or desk.is_finished:
                break
            kills += 1
        if kills == wanted:
            desk.do(desk.go_on if desk.has_checkpoint else desk.fit, **{SAVE_EVERY: "7"})
        broken = "; ".join(differences(whole, desk.outcome()))
    except AssertionError:
        broken = desk.output.strip()[-300:]
    return [(f"killed at a random moment: {name}", f"seed {seed}, {kills} kills", broken)]


def stopped(place: Path, name: str, exact: bool, signals: tuple[str, ...]) -> Findings:
    """Stop or kill a fit at a moment of a validation, and those that go on from it; then go on to the end."""
    whole, _ = undisturbed(place, name, exact)
    case = ", then ".join(signals)
    desk = Desk(_new(place, f"{name} {case}"), scenarios()[name], exact)
    try:
        for signal_at in signals:
            desk.do_until(_next_job(desk), signal_at)
        desk.do(_next_job(desk), **{SAVE_EVERY: "7"})
        broken = "; ".join(differences(whole, desk.outcome()))
    except AssertionError:
        broken = desk.output.strip()[-300:]
    return [(f"stopped in a validation: {name}", case, broken)]


def _next_job(desk: Desk) -> Callable[[], None]:
    if desk.has_checkpoint:
        return desk.go_on
    desk.clear()
    return desk.fit


def by_command(place: Path, name: str, exact: bool, seed: int) -> Findings:
    """The same with the real command line: `lighter fit`, kill -9 after some steps, `lighter resume last`."""
    whole, _ = undisturbed(place, name, exact)
    desk = Desk(_new(place, f"command {seed}"), scenarios()[name], exact)
    fit = desk.command("fit", JOB, f"trainer::exact_resume={exact}")
    steps, served = random.Random(seed).randint(20, 280), desk.place / f"{SERVED}.0"
    while fit.poll() is None and not (served.exists() and served.read_text().count("\n") >= steps):
        time.sleep(0.002)
    fit.send_signal(signal.SIGKILL)
    fit.wait()
    code = desk.command("resume", "last").wait()
    broken = f"exit code {code}: {desk.output[-300:]}" if code else "; ".join(differences(whole, desk.outcome()))
    return [("lighter fit, kill -9, lighter resume last", f"at line {steps}", broken)]


@cache
def reference_of(place: Path, name: str, exact: bool) -> Reference:
    """The job done whole, once in each process."""
    return Reference(_new(place, name), scenarios()[name], exact=exact)


@cache
def undisturbed(place: Path, name: str, exact: bool) -> tuple[Any, float]:
    """What a job comes to that saves every 7 steps and that nobody kills, and how many seconds it takes."""
    desk, begin = Desk(_new(place, f"whole {name}"), scenarios()[name], exact), time.monotonic()
    desk.do(desk.fit, **{SAVE_EVERY: "7"})
    return desk.outcome(), time.monotonic() - begin


def _new(place: Path, name: str) -> Path:
    """A folder of this process's own."""
    return place / f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}-{os.getpid()}"


def _some(cuts: list[Path], count: int) -> list[Path]:
    """Half of them next to the ends of epochs, the others anywhere."""
    chosen = random.Random(len(cuts))
    ends = [n for n, cut in enumerate(cuts) if not cut.name.endswith("batch")]
    near = {
        max(0, min(len(cuts) - 1, n + chosen.randint(-1, 1))) for n in chosen.sample(ends, min(len(ends), count // 2))
    }
    others = [n for n in range(len(cuts)) if n not in near]
    return [cuts[n] for n in sorted({*near, *chosen.sample(others, min(len(others), count - len(near)))})]


def tasks(short: bool) -> Iterator[Callable[[Path, bool], Findings]]:
    """All that is tried, in pieces of some seconds or minutes."""

    def task(function: Any, name: str, *more: Any) -> Any:
        return lambda place, exact: partial(function, place, name, exact, *more)

    yield from (task(at_ends, name, 1 if short else 6) for name in (AT_ENDS[:1] if short else AT_ENDS))
    yield from (task(at_pairs_of_ends, name, 6) for name in (() if short else AT_ENDS))
    yield from (task(killed, KILLED[seed % len(KILLED)], seed) for seed in range(3 if short else 60))
    in_validation = [(name, case) for name, cases in VALIDATING.items() for case in cases]
    yield from (task(stopped, name, case) for name, case in (in_validation[1:2] if short else in_validation))
    yield from (task(by_command, "plain", seed) for seed in range(1 if short else 6))
    for name, scenario in scenarios().items():
        if short and name not in SHORT:
            continue
        if not scenario.is_exact:
            yield task(from_epoch_starts, name, SOME)
        elif scenario.cuts == "all" and not short:
            yield from (task(from_cuts, name, (share, SHARES), None) for share in range(SHARES))
        else:
            yield task(from_cuts, name, (0, 1), 4 if short else SOME)


def run(short: bool, *, exact: bool = True) -> Results:
    """Try all of it, in two processes at a time."""
    results = Results("going on" if exact else "going on with Lightning's random streams")
    with tempfile.TemporaryDirectory() as place, ProcessPoolExecutor(LANES, get_context("fork")) as lanes:
        futures: list[Future[Findings]] = [lanes.submit(task(Path(place), exact)) for task in tasks(short)]
        found = [finding for future in as_completed(futures) for finding in _told(future.result())]
    for promise, case, broken in sorted(found):
        results.row(promise).add(case, held=not broken, why=broken[:2000])
    return results


def _told(findings: Findings) -> Findings:
    """The same, having said how it went: the whole takes a while."""
    held = sum(not broken for _, _, broken in findings)
    print(f"{held} of {len(findings)}: {findings[0][0]}", file=sys.stderr, flush=True)
    return findings


if __name__ == "__main__":
    sys.exit(main(partial(run, exact="--lightning" not in sys.argv[1:])))
