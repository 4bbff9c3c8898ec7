"""Jobs that are drawn at random, cut short at random, and gone on with: a fit that says `resume: exact` is exact.

    python -m tests.faults.inject_generated [--seed N] [--count N]    # 200 jobs, from seed 0 on
    python -m tests.faults.inject_generated --short                   # what CI runs

A job is done once, whole, and its folder is kept whenever a checkpoint was saved. A fit goes on from some of these
moments; another is killed or told to stop at random moments, one to three times. What each start says is compared with
what comes out: if all of them said `exact`, everything is equal bit for bit; whatever they said, the fit ends well.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
import yaml

from lighter.processes.signals import Stopped
from lighter.trainer.checkpointing.earlier_starts import STOPPED
from tests.faults.desk import Desk, Scenario, inside
from tests.faults.generated import CALLS, PROMISES, begin_process, draw
from tests.faults.jobs import KEEP_CUTS, SIGNAL_AT
from tests.faults.outcome import Outcome, differences
from tests.faults.table import Results, main
from tests.forks import exit_code, fork

COUNT, SHORT, LANES = 200, 6, 2
CUTS, KILLS = 3, 2  # of a job: moments that it goes on from; fits that are killed
LAST = "last"
LIMIT = 180.0  # seconds of one start
EXACT_SHARE = 0.5  # of the fits that went on: with fewer that say `exact`, nothing is shown


class Tried(NamedTuple):
    """A fit that was cut short, and went on.

    Attributes:
        case: which, and where.
        promises: what its starts said.
        broken: why it did not end well, or what differs from the whole fit.
        is_ended: whether it ended well.
    """

    case: str
    promises: list[str]
    broken: str
    is_ended: bool

    @property
    def is_exact(self) -> bool:
        """Whether all starts promised it."""
        return all(promise.startswith("exact") for promise in self.promises)


class GeneratedDesk(Desk):
    """A folder in which a generated job is done."""

    def inputs(self) -> list[Any]:
        return [self.scenario.config]

    def start(self, kill_after: float = LIMIT, **environment: str) -> None:
        """Begin, or go on from what is there, in a process of its own.

        Raises:
            AssertionError: it failed.
        """
        if not self.has_checkpoint:
            self.clear()
        job = partial(_quietly, self.go_on if self.has_checkpoint else self.fit)
        with inside(self.place), mock.patch.dict(os.environ, environment):
            code = exit_code(fork(job, Path("output.txt")), kill_after)
        assert code in (0, -signal.SIGKILL), self.output[-1500:]

    @property
    def promises(self) -> list[str]:
        """What the starts said; one that was cut short before its first hook said nothing."""
        file = self.place / PROMISES
        return file.read_text().splitlines() if file.exists() else []


def _quietly(job: Any) -> None:
    warnings.simplefilter("ignore")
    begin_process()
    try:
        job()
    except Stopped:
        return


def tried(desk: GeneratedDesk, case: str, expected: Outcome) -> Tried:
    """Go on from what is there to the end."""
    try:
        if not desk.is_finished:  # a kill may have come after the end
            desk.start()
        assert desk.is_finished, f"no end in {LIMIT} s"
    except AssertionError as error:
        return Tried(case, desk.promises, str(error).strip()[-1500:], is_ended=False)
    found = desk.outcome()
    if "SIGTERM" in case and (LAST not in expected.checkpoints or _is_of_stop(found.checkpoints.get(LAST))):
        expected, found = (_without_last(one) for one in (expected, found))
    return Tried(case, desk.promises, "; ".join(differences(expected, found)), is_ended=True)


def _is_of_stop(checkpoint: Any) -> bool:
    """Return whether a stop saved a checkpoint: it stays while no callback saves a newer one of its name."""
    return checkpoint is not None and bool(checkpoint["lighter"].get(STOPPED))


def _without_last(outcome: Outcome) -> Outcome:
    return replace(outcome, checkpoints={name: one for name, one in outcome.checkpoints.items() if name != LAST})


def from_cuts(desk: GeneratedDesk, cuts: list[Path], expected: Outcome) -> list[Tried]:
    """Go on from the folder as it was."""
    found = []
    for cut in cuts:
        desk.clear()
        shutil.copytree(cut, desk.place, symlinks=True, dirs_exist_ok=True)
        found.append(tried(desk, f"cut {cut.name}", expected))
    return found


def killed(desk: GeneratedDesk, calls: int, seconds: float, moments: random.Random, expected: Outcome) -> Tried:
    """Kill or stop a fit, and those that go on from it; then go on to the end."""
    desk.clear()
    kinds = [moments.choice(["SIGKILL", "SIGKILL", "SIGTERM", "clock"]) for _ in range(moments.randint(1, 3))]
    said = []
    for kind in kinds:
        call, after = moments.randint(1, calls), moments.uniform(0.1, 0.9) * seconds
        said.append(f"kill -9 after {after:.2f} s" if kind == "clock" else f"{kind} {call}")
        try:
            if not desk.is_finished:
                desk.start(after) if kind == "clock" else desk.start(**{SIGNAL_AT: said[-1]})
        except AssertionError as error:
            return Tried(", then ".join(said), desk.promises, str(error).strip(), is_ended=False)
    return tried(desk, ", then ".join(said), expected)


def of_job(seed: int, folder: Path) -> tuple[str, list[Tried]]:
    """Draw a job, do it, and cut it short; returns its config as well."""
    config, moments = draw(seed), random.Random(-seed)
    desk = GeneratedDesk(folder / f"job {seed}", Scenario(f"seed {seed}", config), exact=True)
    cuts, begin = folder / f"cuts {seed}", time.monotonic()
    cuts.mkdir()
    text = yaml.safe_dump(config, default_flow_style=None, sort_keys=False, width=200)
    try:
        desk.start(**{KEEP_CUTS: str(cuts)})
        assert desk.is_finished, f"no end in {LIMIT} s"
    except AssertionError as error:
        return text, [Tried("whole", desk.promises, str(error).strip(), is_ended=False)]
    seconds, expected, calls = time.monotonic() - begin, desk.outcome(), int((desk.place / CALLS).read_text())
    kept = sorted(cuts.iterdir())
    found = from_cuts(desk, sorted(moments.sample(kept, min(CUTS, len(kept)))), expected)
    found += [killed(desk, calls, seconds, moments, expected) for _ in range(KILLS)]
    shutil.rmtree(desk.place)
    shutil.rmtree(cuts)
    return text, found


def warm_up(folder: Path) -> None:
    """Fit once in this process, so that those that are forked from it have all imported: twice as many in a minute."""
    desk = GeneratedDesk(folder / "warm", Scenario("warm", draw(0)), exact=True)
    with inside(desk.place), Path("output.txt").open("w") as output, redirect_stdout(output), redirect_stderr(output):
        _quietly(desk.fit)


def run(seeds: range) -> Results:
    """Try jobs, in two processes at a time."""
    torch.set_num_threads(1)
    found: dict[int, tuple[str, list[Tried]]] = {}
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(LANES, get_context("fork")) as lanes:
        warm_up(Path(folder))
        futures = {lanes.submit(of_job, seed, Path(folder)): seed for seed in seeds}
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            _tell(futures[future], *future.result())
    return judged(found)


def _tell(seed: int, config: str, fits: list[Tried]) -> None:
    """Say at once how a job went: many take a while."""
    broken = [one for one in fits if not one.is_ended or (one.is_exact and one.broken)]
    promises = dict(Counter(promise for one in fits for promise in one.promises))
    lines = [f"seed {seed}: {len(fits) - len(broken)} of {len(fits)}; {promises}"]
    if broken:
        lines += [config, *(f"  {one.case}: {one.broken}" for one in broken)]
    print(*lines, sep="\n", file=sys.stderr, flush=True)


def judged(found: Mapping[int, tuple[str, list[Tried]]]) -> Results:
    """What was promised, compared with what came out, by the seeds of jobs."""
    results = Results(f"{len(found)} jobs that were drawn at random")
    fits = [(seed, one) for seed, (_, tries) in sorted(found.items()) for one in tries]
    for seed, one in fits:
        case = f"seed {seed}, {one.case}"
        results.row("a fit goes on and ends well").add(case, held=one.is_ended, why="" if one.is_ended else one.broken)
        if one.is_ended and one.is_exact:
            results.row("what says `resume: exact` is exact").add(case, held=not one.broken, why=one.broken)
    share = sum(one.is_exact for _, one in fits) / max(1, len(fits))
    row = results.row(f"{EXACT_SHARE:.0%} of the fits and more say so")
    row.add(f"{share:.0%} of {len(fits)} fits", held=share >= EXACT_SHARE)
    print(f"{share:.0%} of {len(fits)} fits say `resume: exact`", file=sys.stderr)
    return results


def seeds_of(words: list[str]) -> range:
    """The seeds of the jobs that a command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help=f"{SHORT} jobs")
    parser.add_argument("--seed", type=int, default=0, help="of the first job")
    parser.add_argument("--count", type=int, default=None, help=f"how many jobs; {COUNT}")
    given = parser.parse_args(words)
    return range(given.seed, given.seed + (given.count or (SHORT if given.short else COUNT)))


if __name__ == "__main__":
    sys.exit(main(lambda _: run(seeds_of(sys.argv[1:]))))
