"""The loops of `lighter.Trainer` on other jobs than `step_overhead.py`'s, beside hand-written loops that do the same.

    python benchmarks/loops.py

As there, all sides run in turn, and a ratio compares within its round. Prints a table and writes it into
benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import sides
from results import middle_half, report
from sides import Shape
from step_overhead import Side, train_in_turn


class Case(NamedTuple):
    """A job, as a plain loop, in Lightning as its guides show it, and twice in `lighter.Trainer`."""

    hand_written: Side
    lightning: Side
    unchanged: Side
    lighter: Side
    at_most: str = ""
    epochs: int = 3
    rounds: int | None = None  # where a round takes long


def fitting(shape: Shape, at_most: str = "", **arguments: Any) -> Case:
    return Case(
        partial(sides.hand_written, shape=shape),
        partial(sides.lightning, sides.Idiom, shape=shape),
        partial(sides.lightning, sides.Idiom, trainer_class=sides.as_lightning, shape=shape),
        partial(sides.lightning, sides.lighter_module, trainer_class=sides.as_lightning, shape=shape),
        at_most,
        **arguments,
    )


def measuring(stage: str, hand_written: Side, plain: Callable[[sides.Job], sides.Timed], at_most: str) -> Case:
    return Case(
        hand_written,
        partial(sides.lightning, plain, stage=stage),
        partial(sides.lightning, plain, trainer_class=sides.as_lightning, stage=stage),
        partial(sides.lightning, sides.lighter_module, trainer_class=sides.as_lightning, stage=stage),
        at_most,
    )


BARE = partial(sides.lightning, sides.Bare, trainer_class=sides.as_lightning)
CASES = {
    "bare step": Case(sides.hand_written_bare, partial(sides.lightning, sides.Bare), BARE, BARE, "1.00"),
    "batches of 256": fitting(Shape(batch_size=256), "0.65", epochs=10),
    "epochs of 562 steps": fitting(Shape(samples=17970), "0.90", epochs=1, rounds=6),
    "1,000 epochs of 10 steps": fitting(Shape(samples=310), epochs=1000, rounds=1),
    "gradients of 4 batches": fitting(Shape(accumulate=4), "0.90"),
    "200 metrics": fitting(Shape(metrics=200), epochs=1, rounds=5),
    "a small CNN": fitting(Shape(network=sides.cnn)),
    "a CNN of 5 million parameters": fitting(Shape(network=sides.large_cnn, samples=256), epochs=1, rounds=5),
    "a transformer of 10 million": fitting(Shape(network=sides.transformer, samples=256), epochs=1, rounds=5),
    "a compiled network": fitting(Shape(network=sides.compiled)),
    "validation": measuring("validate", sides.hand_written_validation, sides.Idiom, "0.90"),
    "prediction": measuring("predict", sides.hand_written_prediction, sides.Bare, "0.90"),
}
SIDES = ("hand-written", "Lightning", "LightningModule", "LighterModule")
COLUMNS = ("job", "hand-written, µs", *SIDES[1:], "middle half", "at most", "weights")
BEFORE = f"""`python benchmarks/loops.py`: the data, metrics and logger of the table above; {sides.TIMED}.

- bare step: measures nothing, with nothing measured in the hand-written loop either
- batches of 256; epochs of 562 steps and of 10, instead of 57; gradients of 4 batches, added up for each step of the
  optimizer; 200 metrics, of which all but one count the same
- networks: a small CNN, with two convolutions; a CNN of 5 million and a transformer of 10 million parameters, 8 steps;
  the MLP, compiled
- validation: loss and both metrics by epoch, and of every 50th batch; prediction: the outputs, kept
- Lightning: `self.log`, as its guides show it; bare where nothing is measured
- LightningModule: the same in `lighter.Trainer`; LighterModule: in `lighter.Trainer`; both lean alone as above"""
AFTER = """How to read it: ratios to the hand-written loop in the same round, medians over {rounds} rounds, fewer
of long jobs, all sides of a job in turn; half of LighterModule's lie in the middle half; `at most` is the target for
it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=30, help="how often each side runs (default: 30)")
    parser.add_argument("--only", default="", help="the jobs whose names contain this; writes no report")
    options = parser.parse_args()
    sides.settle()
    rows = [row(name, case, min(options.rounds, case.rounds or options.rounds))
            for name, case in CASES.items() if options.only in name]  # fmt: skip
    if options.only:
        print(*("   ".join(one) for one in rows), sep="\n")
        return
    report("Other jobs and other loops", COLUMNS, rows, before=BEFORE, after=AFTER.format(rounds=options.rounds))


def row(name: str, case: Case, rounds: int) -> tuple[str, ...]:
    trained = dict(zip(SIDES, (case.hand_written, case.lightning, case.unchanged, case.lighter), strict=True))
    done = train_in_turn(trained, rounds, case.epochs)
    plain = done["hand-written"]
    ratios = {
        side: [mine.seconds_per_step / base.seconds_per_step for mine, base in zip(outcomes, plain, strict=True)]
        for side, outcomes in done.items()
    }
    low, high = middle_half(ratios["LighterModule"])
    same = len({outcome.weights for outcomes in done.values() for outcome in outcomes}) == 1
    return (
        name,
        f"{median(outcome.seconds_per_step for outcome in plain) * 1e6:.0f}",
        *(f"{median(ratios[side]):.2f}" for side in SIDES[1:]),
        f"{low:.2f} to {high:.2f}",
        case.at_most,
        "same" if same else "DIFFERENT",
    )


if __name__ == "__main__":
    main()
