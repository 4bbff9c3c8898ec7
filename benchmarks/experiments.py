"""Experiments: what a member costs, how busy workers are, what promotion trains anew, and how others compare.

    python benchmarks/experiments.py [--only SECTION] [--rounds N]

A small network learns scikit-learn's digits (benchmarks/experiment_job). Each section prints a table and writes it into
benchmarks/RESULTS.md. Hydra and Ray Tune get environments of their own on first use.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from experiment_peers import PEERS
from peer import PeerError
from results import middle_half, report

from lighter import Experiment
from lighter.config import read
from lighter.experiments.coordinator import Coordinator
from lighter.experiments.executors.base import Ended
from lighter.experiments.executors.local import LocalExecutor
from lighter.experiments.folder import claim
from lighter.experiments.section import parse
from lighter.files.run_folder import RunFolder
from lighter.runs.record import write_config

JOB = Path(__file__).parent / "experiment_job"
CONFIG = JOB / "config.yaml"
LIGHTER = Path(sys.executable).with_name("lighter")
WORKERS = 2
EPOCHS = 9  # of the fits that ASHA cuts short
Command = list[str | Path]

# Threads that wait for each other on a busy machine are nothing of what is measured.
os.environ |= {"OMP_NUM_THREADS": "1"}


class Cost(NamedTuple):
    """Seconds of commands that run at once.

    Attributes:
        wall: from their start to the end of the last.
        start_up: from their start to the first batch of their first fit.
        fits: how many there were.
    """

    wall: float
    start_up: float
    fits: int

    @property
    def per_fit(self) -> float:
        return (self.wall - self.start_up) / self.fits

    @property
    def per_minute(self) -> float:
        return 60 * self.fits / self.wall


def cost_of(*commands: Command) -> Cost:
    """Run commands at once, in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.time()
        run_all(commands, Path(folder))
        wall = time.time() - start
        begun = [float(line) for path in Path(folder).rglob("begun.txt") for line in path.read_text().split()]
    return Cost(wall, min(begun) - start, len(begun))


def run_all(commands: Sequence[Command], folder: Path) -> None:
    """Run commands at once; raise a SystemExit with the output of one that fails."""
    logs = [folder / f"{number}.log" for number in range(len(commands))]
    processes = []
    for command, log in zip(commands, logs, strict=True):
        with log.open("wb") as output:
            processes.append(subprocess.Popen(command, cwd=folder, stdout=output, stderr=output))
    for process, log in zip(processes, logs, strict=True):
        if process.wait():
            raise SystemExit(f"{' '.join(map(str, process.args))} failed:\n{log.read_text()[-3000:]}")


def in_turn(sides: dict[str, Callable[[], Cost]], rounds: int, of: int) -> dict[str, list[Cost]]:
    """The costs of each side by round; every other round goes backwards. Each has run so many fits."""
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in [*sides][:: -1 if number % 2 else 1]:
            costs[name].append(sides[name]())
            if costs[name][-1].fits != of:
                raise SystemExit(f"{name} ran {costs[name][-1].fits} fits instead of {of}")
    return costs


def sweep(*words: str) -> Command:
    return [LIGHTER, "sweep", CONFIG, *words]


def swept(folder: Path, *words: str) -> Experiment:
    """The experiment of a sweep in a folder."""
    run_all([sweep(*words)], folder)
    return Experiment("last", folder / "outputs")


# The cost of a member

MEMBERS = 60
MEMBER_COLUMNS = (
    *("workers", "loop, s per fit", "sweep, s per member", "overhead, s", "middle half", "at most"),
    *("start-up of the loop, s", "of the sweep, s"),
)
MEMBER_BEFORE = f"""`python benchmarks/experiments.py --only overhead`: {MEMBERS} members of an epoch of 43 steps by
`lighter sweep`, with one worker beside a loop of the same fits in one process (`Runner().run("fit", ...)`), with two
workers beside two such loops at once, each with half of the fits."""
MEMBER_AFTER = """How to read it: whole commands, less their start-up, which is the time until the first batch of the
first fit. A member has what a fit has, and a process of its own, its entry in the experiment's folder, and the
decision what runs next. {rounds} rounds, all in turn; seconds are medians, the overhead is that within a round."""


def overhead(rounds: int) -> None:
    """Sixty short members beside the same fits in a loop."""
    rates = [f"{10 ** (-4 + 3 * number / MEMBERS):.6f}" for number in range(MEMBERS)]
    space = f"model::optimizer::lr=[{','.join(rates)}]"

    def loops(count: int) -> Cost:
        return cost_of(*([sys.executable, JOB / "loop.py", *rates[part::count]] for part in range(count)))

    def sweeps(count: int) -> Cost:
        return cost_of(sweep(space, "experiment::search::method=grid", f"experiment::executor::workers={count}"))

    sides: dict[str, Callable[[], Cost]] = {}
    for count in (1, 2):
        sides |= {f"loop {count}": partial(loops, count), f"sweep {count}": partial(sweeps, count)}
    costs = in_turn(sides, rounds, of=MEMBERS)
    rows = [member_row(count, costs[f"loop {count}"], costs[f"sweep {count}"]) for count in (1, 2)]
    after = MEMBER_AFTER.format(rounds=rounds)
    report("Experiments: the cost of a member", MEMBER_COLUMNS, rows, before=MEMBER_BEFORE, after=after)


def member_row(workers: int, loops: list[Cost], sweeps: list[Cost]) -> tuple[str, ...]:
    # of a worker, which has a member in `workers` times the seconds between two ends
    more = [workers * (ours.per_fit - theirs.per_fit) for ours, theirs in zip(sweeps, loops, strict=True)]
    low, high = middle_half(more)
    return (
        str(workers),
        *(f"{workers * median(cost.per_fit for cost in costs):.3f}" for costs in (loops, sweeps)),
        f"{median(more):+.3f}",
        f"{low:+.3f} to {high:+.3f}",
        "0.20",
        *(f"{median(cost.start_up for cost in costs):.1f}" for costs in (loops, sweeps)),
    )


# Busy workers

BUSY_COLUMNS = ("workers", "members", "seconds", "has a member", "at least", "in a fit", "between two, s")
BUSY_SECTION = {
    "data": {"train_dataloader": {"batch_size": 8}},
    "experiment": {
        "search": {
            "space": {
                "trainer": {"max_epochs": [1, 2, 3, 4, 5, 6]},
                "model": {"optimizer": {"lr": [round(0.001 * 1.3**number, 6) for number in range(MEMBERS // 6)]}},
            },
            "method": "grid",
        }
    },
}
BUSY_BEFORE = f"""`python benchmarks/experiments.py --only busy`: {MEMBERS} members of 1 to 6 epochs of 169
steps, on two workers."""
BUSY_AFTER = """How to read it: the share of the time, from the first fork to the last end, in which a worker's process
is there, and in which it is in a fit, from the beginning to the end of its record. At the end one worker has nothing
left to do, which counts as idle. Between two: from the end of a member to the start of the next one, by the
coordinator's clock. Medians of {rounds} rounds."""


class Observed(LocalExecutor):
    """Notes when each worker was forked, and when its end was known."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.forked: dict[Path, float] = {}
        self.over: dict[Path, float] = {}

    def _heard(self, message: dict[str, Any]) -> Ended | None:
        times = self.forked if "pid" in message else self.over
        times[Path(message["folder"])] = time.time()
        return super()._heard(message)


def busy(rounds: int) -> None:
    """Members of uneven length on two workers."""
    values = [median(each) for each in zip(*(busy_shares() for _ in range(rounds)), strict=True)]
    seconds, has_member, in_fit, idle = values
    row = (str(WORKERS), str(MEMBERS), f"{seconds:.1f}", f"{has_member:.1%}", "95%", f"{in_fit:.1%}", f"{idle:.3f}")
    after = BUSY_AFTER.format(rounds=rounds)
    report("Experiments: busy workers", BUSY_COLUMNS, [row], before=BUSY_BEFORE, after=after)


def busy_shares() -> tuple[float, float, float, float]:
    """Seconds of all, the shares of them in which workers have a member, and are in a fit; seconds between members."""
    with tempfile.TemporaryDirectory() as folder:
        experiment, executor = run_observed(Path(folder))
        fits = sum(seconds_of(run.facts) for run in experiment.runs.values())
    seconds = max(executor.over.values()) - min(executor.forked.values())
    has_member = sum(end - executor.forked[folder] for folder, end in executor.over.items())
    # Each start but the first of each worker follows the end of another member.
    ends, starts = sorted(executor.over.values()), sorted(executor.forked.values())[WORKERS:]
    idle = median(start - end for start, end in zip(starts, ends, strict=False))
    return seconds, has_member / seconds / WORKERS, fits / seconds / WORKERS, idle


def run_observed(root: Path) -> tuple[Experiment, Observed]:
    """Run an experiment as `lighter sweep` does, by an executor that is observed."""
    config = read([CONFIG, BUSY_SECTION])
    asked, problems = parse(config)
    if asked is None:
        raise SystemExit("\n".join(map(str, problems)))
    folder = claim(root, "busy")
    write_config({**config.merged.plain(), "project": str(JOB)}, RunFolder(folder.path))
    with Observed(folder.config, WORKERS, 1) as executor:
        Coordinator(folder, asked, executor).run()
    return Experiment(folder.path), executor


def seconds_of(facts: dict[str, Any]) -> float:
    started, ended = (datetime.fromisoformat(facts[key]) for key in ("started", "ended"))
    return (ended - started).total_seconds()


# Promotion

ASHA_TRIALS = 30
SEARCH = [
    "model::optimizer::lr={from: 1e-4, to: 1, scale: log}",
    "model::network::width={from: 4, to: 128, scale: log}",
    "data::train_dataloader::batch_size=[16,32,64,128]",
    f"trainer::max_epochs={EPOCHS}",
    "experiment::search::method=random",
    f"experiment::search::trials={ASHA_TRIALS}",
    f"experiment::executor::workers={WORKERS}",
]
ASHA = "experiment::search::schedule={kind: asha, rungs: [1, 3]}"
MARKS = "=trainer::callbacks=[{_target_: project.marks.Begin, folder: '@run::folder'}, "
MARKS += "{_target_: project.marks.Count, folder: '@run::folder'}]"
PROMOTION_COLUMNS = (
    "trials",
    "to epoch 3",
    "to the end",
    "starts",
    "steps of the checkpoints",
    "steps run",
    "anew",
    "at most",
)
PROMOTION_BEFORE = f"""`python benchmarks/experiments.py --only promotion`: ASHA with {ASHA_TRIALS} trials of 9 epochs
and rungs at epochs 1 and 3, on two workers."""
PROMOTION_AFTER = """How to read it: a callback appends a byte to a file for each batch that is trained, over all starts
of a member; steps of the checkpoints are those of the members' last ones. What is trained anew is the difference."""


def promotion(rounds: int) -> None:
    """Steps that a promoted member trains anew."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = swept(Path(folder), *SEARCH, ASHA, MARKS)
        homes = [experiment.path / member.name for member in experiment.members]
        run = sum((home / "trained.bin").stat().st_size for home in homes)
        starts = sum(len((home / "begun.txt").read_text().split()) for home in homes)
        kept = sum(torch.load(home / "checkpoints/last.ckpt", weights_only=True)["global_step"] for home in homes)
        reached = [sum(member.target >= rung for member in experiment.members) for rung in (1, 2)]
    row = (str(len(homes)), *map(str, reached), str(starts), f"{kept:,}", f"{run:,}", f"{run - kept:,}", "0")
    report("Experiments: promotion", PROMOTION_COLUMNS, [row], before=PROMOTION_BEFORE, after=PROMOTION_AFTER)


# Quality per epoch of training

QUALITY_COLUMNS = ("sweep", "epochs trained", "best validation loss", "least to most", "weights")
QUALITY_BEFORE = f"""`python benchmarks/experiments.py --only quality`: the same {ASHA_TRIALS} random trials of 9
epochs (learning rate, width, batch size), each trained to its end, and with ASHA at epochs 1 and 3."""
QUALITY_AFTER = """How to read it: the loss is that at the end of the best fit that has come to its end. In the last row
trials are trained to their end in their order for as many epochs as ASHA took. Medians over {rounds} searches with
different seeds. Same weights: trials that ASHA promoted to the end have the loss of the uninterrupted fit, bit for
bit."""


class Found(NamedTuple):
    """What a search has come to: epochs that were trained, and the best loss at the end of a fit."""

    epochs: int
    loss: float


def quality(rounds: int) -> None:
    """The best loss with and without ASHA."""
    sides: dict[str, list[Found]] = {"all to their end": [], "ASHA": [], "to their end, epochs of ASHA": []}
    same = True
    for number in range(rounds):
        *found, is_same = searched(number + 1)
        same = same and is_same
        for each, one in zip(sides.values(), found, strict=True):
            each.append(one)
    rows = [found_row(name, found, same if name == "ASHA" else None) for name, found in sides.items()]
    after = QUALITY_AFTER.format(rounds=rounds)
    report("Experiments: quality per epoch of training", QUALITY_COLUMNS, rows, before=QUALITY_BEFORE, after=after)


def searched(seed: int) -> tuple[Found, Found, Found, bool]:
    """Search without ASHA, with it, and in as many epochs without it. Have equal trials equal losses?"""
    whole, asha = (final_losses(f"seed={seed}", *SEARCH, *schedule) for schedule in ([], [ASHA]))
    affordable = asha.epochs // EPOCHS
    few = Found(affordable * EPOCHS, min(whole.losses[number] for number in range(affordable)))
    is_same = all(whole.losses[number] == loss for number, loss in asha.losses.items())
    return Found(whole.epochs, min(whole.losses.values())), Found(asha.epochs, min(asha.losses.values())), few, is_same


class Losses(NamedTuple):
    """Epochs that a sweep has trained, and the losses of the trials that came to their end."""

    epochs: int
    losses: dict[int, float]


def final_losses(*words: str) -> Losses:
    with tempfile.TemporaryDirectory() as folder:
        experiment = swept(Path(folder), *words)
        runs = experiment.runs
        epochs = sum(run.facts["progress"]["epoch"] for run in runs.values())
        done = [member for member in experiment.members if runs[member.name].facts["progress"]["epoch"] == EPOCHS]
        return Losses(epochs, {member.trial: finite(runs[member.name].metrics["val/loss/epoch"]) for member in done})


def finite(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf


def found_row(name: str, found: list[Found], same: bool | None) -> tuple[str, ...]:
    losses = [one.loss for one in found]
    weights = "" if same is None else "same" if same else "DIFFERENT"
    epochs = f"{median(one.epochs for one in found):.0f}"
    return name, epochs, f"{median(losses):.4f}", f"{min(losses):.4f} to {max(losses):.4f}", weights


# Trials per minute

TRIALS = 40
PEER_COLUMNS = ("sweep", "trials per minute", "middle half", "without start-up", "start-up, s")
PEER_BEFORE = f"""`python benchmarks/experiments.py --only peers`: {TRIALS} trials of an epoch on two workers, learning
rate by TPE. The peers' job is the same fit in plain Lightning (benchmarks/experiment_job/plain.py)."""
PEER_AFTER = """How to read it: whole commands, from their start to their end; start-up is the time until the first
batch of the first fit. {rounds} rounds, all in turn; medians. {versions}"""


def peers(rounds: int) -> None:
    """Trials per minute, beside Hydra and Ray Tune."""
    space = "model::optimizer::lr={from: 1e-4, to: 1e-1, scale: log}"
    ours = [*sweep(space, f"experiment::search::trials={TRIALS}", f"experiment::executor::workers={WORKERS}")]
    sides = {
        f"Lighter, {name}": partial(cost_of, [*ours, f"experiment::search::method={name}"])
        for name in ("random", "tpe")
    }
    notes = []
    for peer in PEERS:
        try:
            python = peer.prepare()
        except PeerError as error:
            notes.append(f"{peer.name} could not be installed: {error}.")
            continue
        sides |= {name: partial(cost_of, [python, *words]) for name, words in peer.commands(TRIALS).items()}
        notes.append(peer.versions())
    costs = in_turn(sides, rounds, of=TRIALS)
    rows = [peer_row(name, each) for name, each in costs.items()]
    after = PEER_AFTER.format(rounds=rounds, versions=" ".join(notes))
    report("Experiments: trials per minute", PEER_COLUMNS, rows, before=PEER_BEFORE, after=after)


def peer_row(name: str, costs: list[Cost]) -> tuple[str, ...]:
    low, high = middle_half([cost.per_minute for cost in costs])
    return (
        name,
        f"{median(cost.per_minute for cost in costs):.0f}",
        f"{low:.0f} to {high:.0f}",
        f"{median(60 / cost.per_fit for cost in costs):.0f}",
        f"{median(cost.start_up for cost in costs):.1f}",
    )


SECTIONS: dict[str, Callable[[int], None]] = {
    "overhead": overhead,
    "busy": busy,
    "promotion": promotion,
    "quality": quality,
    "peers": peers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often what takes time is repeated (default: 3)")
    parser.add_argument("--only", choices=SECTIONS, help="one section instead of all")
    options = parser.parse_args()
    for name in [options.only] if options.only else SECTIONS:
        SECTIONS[name](options.rounds)


if __name__ == "__main__":
    main()
