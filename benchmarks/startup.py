"""What Lighter adds to the start of a process: `lighter fit` beside a Lightning script, `lighter --help` beside Python.

    python benchmarks/startup.py

Whole processes, in turn, round after round; the first round is for warming up. Prints a table and writes it into
benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from results import middle_half, report

JOB = Path(__file__).parent / "startup_job"
LIGHTER = Path(sys.executable).with_name("lighter")
COMMANDS: dict[str, list[str | Path]] = {
    "plain": [sys.executable, JOB / "plain.py"],
    "fit": [LIGHTER, "fit", JOB / "config.yaml"],
    "python": [sys.executable, "-c", "pass"],
    "help": [LIGHTER, "--help"],
}
# An installed package has its bytecode; one that is installed to be edited gets it in the warm-up, if it may.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT["OMP_NUM_THREADS"] = "1"  # threads that wait for each other on a busy machine are nothing of ours
COLUMNS = ("seconds", "beside", "Lighter", "difference", "middle half", "at most")
BEFORE = """`python benchmarks/startup.py`: five training steps on scikit-learn's digits, from a config with
`lighter fit`, beside the same job as a plain Lightning script (both in `benchmarks/startup_job`); and `lighter --help`
beside `python -c pass`. Whole processes, from their start to their end."""
AFTER = """How to read it: the difference is what Lighter adds: reading and checking the config, recording the run,
printing the results; `at most` is the target for it. {rounds} rounds, all commands in turn. Seconds are those of the
fastest round, as a busy machine only adds to them, and the difference is between these. In half of the rounds the
difference within the round lies in the middle half: wide where the machine is busy."""


class Cost(NamedTuple):
    """Seconds that a process took."""

    wall: float
    processor: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="how often each command runs (default: 15)")
    rounds = parser.parse_args().rounds
    costs = run_in_turn(rounds)
    rows = [
        row("fit, wall", costs["plain"], costs["fit"], "wall", "0.30"),
        row("fit, processor", costs["plain"], costs["fit"], "processor"),
        row("--help, wall", costs["python"], costs["help"], "wall", "0.15"),
        row("--help, processor", costs["python"], costs["help"], "processor"),
    ]
    report("Start of a process", COLUMNS, rows, before=BEFORE, after=AFTER.format(rounds=rounds))


def run_in_turn(rounds: int) -> dict[str, list[Cost]]:
    """The costs of each command by round; every other round goes backwards, and the warm-up is left out."""
    costs: dict[str, list[Cost]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name in sorted(COMMANDS, reverse=bool(number % 2)):
            cost = run(COMMANDS[name])
            if number:
                costs[name].append(cost)
    return costs


def run(command: list[str | Path]) -> Cost:
    """What a process costs, which works in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        start, used = perf_counter(), processor_time()
        done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
        cost = Cost(perf_counter() - start, processor_time() - used)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr}")
    return cost


def processor_time() -> float:
    """Seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row(name: str, beside: list[Cost], ours: list[Cost], field: str, target: str = "") -> tuple[str, ...]:
    theirs, mine = ([getattr(cost, field) for cost in costs] for costs in (beside, ours))
    low, high = middle_half([after - before for before, after in zip(theirs, mine, strict=True)])
    return (
        name,
        f"{min(theirs):.2f}",
        f"{min(mine):.2f}",
        f"{min(mine) - min(theirs):+.2f}",
        f"{low:+.2f} to {high:+.2f}",
        target,
    )


if __name__ == "__main__":
    main()
