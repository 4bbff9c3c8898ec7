"""What reliability costs a training step: `lighter.Trainer` with its defaults, beside the same without them.

    python benchmarks/reliability.py

The job is `step_overhead.py`'s, on a `LighterModule`. Both sides train in turn, round after round, and a ratio compares
within its round. Prints a table and writes it into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
from functools import partial
from statistics import median
from typing import Any

import sides
from results import middle_half, report
from step_overhead import train_in_turn

import lighter

WITHOUT = {"exact_resume": False, "on_non_finite": "continue"}
SIDES: dict[str, dict[str, Any]] = {
    "without": WITHOUT,
    "on_non_finite: stop": {**WITHOUT, "on_non_finite": "stop"},
    "on_non_finite: skip": {**WITHOUT, "on_non_finite": "skip"},
    "exact_resume": {**WITHOUT, "exact_resume": True},
    "the defaults": {},
}
AT_MOST = 3.0  # percent, for the defaults
COLUMNS = ("side", "µs/step", "more, %", "middle half", "fastest", "more, %", "weights")
BEFORE = f"""`python benchmarks/reliability.py`: the job of the first table, a LighterModule in `lighter.Trainer`;
{sides.TIMED}.

- without: `exact_resume=False, on_non_finite="continue"`
- in between: the same, but for what the line says; then the defaults, of which the target is at most {AT_MOST:.0f}%"""
AFTER = """How to read it: how much more time a step takes than without. By the median: over {rounds} rounds of {epochs}
epochs, all sides in turn, each compared within its round; half of the rounds lie in the middle half. By the fastest:
between the fastest rounds of both, as a busy machine only adds to them. The network is tiny on purpose.
Same weights: those of the side without, bit for bit."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40, help="how often each side trains (default: 40)")
    parser.add_argument("--epochs", type=int, default=3, help="of 57 steps, each time (default: 3)")
    options = parser.parse_args()
    sides.settle()
    trained = {
        name: partial(sides.lightning, sides.lighter_module, trainer_class=partial(lighter.Trainer, **arguments))
        for name, arguments in SIDES.items()
    }
    outcomes = train_in_turn(trained, options.rounds, options.epochs)
    rows = [row(name, done, outcomes["without"]) for name, done in outcomes.items()]
    after = AFTER.format(rounds=options.rounds, epochs=options.epochs)
    report("What reliability costs a step", COLUMNS, rows, before=BEFORE, after=after)


def row(name: str, done: list[sides.Outcome], plain: list[sides.Outcome]) -> tuple[str, ...]:
    more = [(mine.seconds_per_step / base.seconds_per_step - 1) * 100 for mine, base in zip(done, plain, strict=True)]
    low, high = middle_half(more)
    same = {outcome.weights for outcome in done} == {outcome.weights for outcome in plain}
    times, base = ([outcome.seconds_per_step * 1e6 for outcome in side] for side in (done, plain))
    return (
        name,
        f"{median(times):.0f}",
        f"{median(more):+.1f}",
        f"{low:+.1f} to {high:+.1f}",
        f"{min(times):.0f}",
        f"{(min(times) / min(base) - 1) * 100:+.1f}",
        "same" if same else "DIFFERENT",
    )


if __name__ == "__main__":
    main()
