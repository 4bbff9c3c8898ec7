"""The loops of `lighter.Trainer` on other jobs than `step_overhead.py`'s, beside hand-written loops that do the same.

    python benchmarks/loops.py

As there, all sides run in turn, and a ratio compares within its round. Prints a table and writes it into
benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
from functools import partial
from statistics import median
from typing import NamedTuple

import sides
from results import middle_half, report
from sides import Shape
from step_overhead import Side, train_in_turn


class Case(NamedTuple):
    """A job, as a plain loop, in Lightning as its guides show it, and in `lighter.Trainer`."""

    hand_written: Side
    lightning: Side
    lighter: Side
    at_most: float


def fitting(shape: Shape) -> Case:
    return Case(
        partial(sides.hand_written, shape=shape),
        partial(sides.lightning, sides.Idiom, shape=shape),
        partial(sides.lightning, sides.lighter_module, trainer_class=sides.as_lightning, shape=shape),
        1.15,
    )


CASES = {
    "bare step": Case(
        sides.hand_written_bare,
        partial(sides.lightning, sides.Bare),
        partial(sides.lightning, sides.Bare, trainer_class=sides.as_lightning),
        1.2,
    ),
    "batches of 256": fitting(Shape(batch_size=256)),
    "epochs of 562 steps": fitting(Shape(repeats=10)),
    "a small CNN": fitting(Shape(network=sides.cnn)),
    "gradients of 4 batches": fitting(Shape(accumulate=4)),
    "validation": Case(
        sides.hand_written_validation,
        partial(sides.lightning, sides.Idiom, stage="validate"),
        partial(sides.lightning, sides.lighter_module, trainer_class=sides.as_lightning, stage="validate"),
        1.2,
    ),
    "prediction": Case(
        sides.hand_written_prediction,
        partial(sides.lightning, sides.Bare, stage="predict"),
        partial(sides.lightning, sides.lighter_module, trainer_class=sides.as_lightning, stage="predict"),
        1.2,
    ),
}
COLUMNS = ("job", "hand-written, µs", "Lightning", "lighter.Trainer", "middle half", "at most", "weights")
BEFORE = """`python benchmarks/loops.py`: the data, metrics and logger of the table above.

- bare step: measures nothing, with nothing measured in the hand-written loop either
- batches of 256; epochs of 562 steps instead of 57: the digits ten times, one epoch; a small CNN, with two
  convolutions; gradients of 4 batches, added up for each step of the optimizer
- validation: loss and both metrics by epoch, and of every 50th batch; prediction: the outputs, kept
- Lightning: `self.log`, as its guides show it; bare where nothing is measured. lighter.Trainer: a LighterModule,
  lean alone as above"""
AFTER = """How to read it: ratios to the hand-written loop in the same round, medians over {rounds} rounds of {epochs}
epochs, all sides of a job in turn; half of lighter.Trainer's lie in the middle half; `at most` is the target for it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30, help="how often each side runs (default: 30)")
    parser.add_argument("--epochs", type=int, default=3, help="each time (default: 3)")
    options = parser.parse_args()
    sides.settle()
    rows = [row(name, case, options.rounds, options.epochs) for name, case in CASES.items()]
    after = AFTER.format(rounds=options.rounds, epochs=options.epochs)
    report("Other jobs and other loops", COLUMNS, rows, before=BEFORE, after=after)


def row(name: str, case: Case, rounds: int, epochs: int) -> tuple[str, ...]:
    trained = {"hand_written": case.hand_written, "lightning": case.lightning, "lighter": case.lighter}
    if name.startswith("epochs of"):  # which take as long as all rounds of another job else
        rounds, epochs = max(2, rounds // 5), 1
    done = train_in_turn(trained, rounds, epochs)
    plain = done["hand_written"]
    ratios = {
        side: [mine.seconds_per_step / base.seconds_per_step for mine, base in zip(outcomes, plain, strict=True)]
        for side, outcomes in done.items()
    }
    low, high = middle_half(ratios["lighter"])
    same = len({outcome.weights for outcomes in done.values() for outcome in outcomes}) == 1
    return (
        name,
        f"{median(outcome.seconds_per_step for outcome in plain) * 1e6:.0f}",
        f"{median(ratios['lightning']):.2f}",
        f"{median(ratios['lighter']):.2f}",
        f"{low:.2f} to {high:.2f}",
        f"{case.at_most:.2f}",
        "same" if same else "DIFFERENT",
    )


if __name__ == "__main__":
    main()
