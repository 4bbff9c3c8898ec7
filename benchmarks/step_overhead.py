"""What a training step costs: a hand-written PyTorch loop, Lightning, and Lighter, on the same small job.

    python benchmarks/step_overhead.py

All sides train in turn, round after round, so that a busy moment of the machine falls on all of them. The first round
is for warming up. A side's ratio is the median over rounds of its time divided by that of the hand-written loop in the
same round. Prints a table and writes it into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from math import isclose
from pathlib import Path
from statistics import median

import sides
from peer import RELEASE, PeerError, start_peer
from results import middle_half, report, show_in_readme
from sides import Outcome

import lighter

Side = Callable[[int], Outcome]

YARDSTICK = "hand-written loop"
INDEXES = "hand-written, indexes batches"
PEER = f"Lighter {RELEASE} (PyPI)"
SIDES: dict[str, Side] = {
    YARDSTICK: sides.hand_written,
    INDEXES: partial(sides.hand_written, indexes=True),
    "Lightning, bare": partial(sides.lightning, sides.Bare),
    "Lightning, metrics only": partial(sides.lightning, sides.MetricsOnly),
    "Lightning, self.log": partial(sides.lightning, sides.Idiom),
    "LighterModule": partial(sides.lightning, sides.lighter_module),
    "System": partial(sides.lightning, sides.system),
    "LighterModule in lighter.Trainer": partial(sides.lightning, sides.lighter_module, trainer_class=lighter.Trainer),
    "System in lighter.Trainer": partial(sides.lightning, sides.system, trainer_class=lighter.Trainer),
    "LighterModule, lean alone": partial(sides.lightning, sides.lighter_module, trainer_class=sides.as_lightning),
    "System, lean alone": partial(sides.lightning, sides.system, trainer_class=sides.as_lightning),
}
# of samples: `DataLoader` draws a seed for workers too, and a fit that can go on draws by its position
OWN_ORDER = (INDEXES, "LighterModule in lighter.Trainer", "System in lighter.Trainer")
COLUMNS = ("side", "µs/step", "fastest", "ratio", "middle half", "weights")
BEFORE = """`python benchmarks/step_overhead.py`: scikit-learn's digits, a 64-64-10 MLP, Adam, batches of 32;
loss, accuracy and macro F1; a CSV logger at Lightning's default interval of 50 steps; no progress bar, no checkpoints;
one thread, and its processor time.

- hand-written loop: plain PyTorch; the loss is summed and the metrics are updated at each step; the values of every
  50th step and of each epoch are written to a CSV file
- hand-written, indexes batches: the same loop, which takes no `DataLoader` but one index per batch from the tensors
- Lightning, bare: a LightningModule that measures nothing; metrics only: one that updates the metrics and logs nothing
- Lightning, self.log: the documented way, each value with `on_step=True, on_epoch=True`
- LighterModule and System: in Lightning's Trainer, and in `lighter.Trainer`; lean alone: in `lighter.Trainer` with
  `exact_resume=False, on_non_finite="continue"`, so that it does no more than the hand-written loop
- Lighter 0.1.0: the same class with that release, in an environment of its own with the same torch and Lightning"""
AFTER = """How to read it: a ratio of 2 means that a step takes twice as long as in the hand-written loop. The network
is tiny on purpose: the difference in microseconds is the framework's, and does not grow with the network.
{rounds} rounds of {epochs} epochs, all sides in turn. Times and ratios are medians over rounds; a ratio compares within
its round, and half of the rounds lie in the middle half. Same weights: at the end they equal those of the hand-written
loop, bit for bit; own order: shuffled by other numbers, as in a fit that can go on exactly where it was.
{measured}"""


def main() -> None:
    options = parse_arguments()
    sides.settle()
    trained, remark = dict(SIDES), ""
    with ExitStack() as stack:
        if options.peer:
            try:
                peer = stack.enter_context(closing(start_peer(options.peer_python)))
                trained[PEER] = peer.train
            except PeerError as error:
                remark = f"\n{PEER} could not be measured: {error}"
        outcomes = train_in_turn(trained, options.rounds, options.epochs)
    rows = [row(name, done, outcomes[YARDSTICK]) for name, done in outcomes.items()]
    if remark:
        rows.append((PEER, *["-"] * (len(COLUMNS) - 1)))
    after = AFTER.format(rounds=options.rounds, epochs=options.epochs, measured=compare_measured(outcomes)) + remark
    report("Overhead of a training step", COLUMNS, rows, before=BEFORE, after=after)
    show_in_readme(COLUMNS[:4:3], [row[:4:3] for row in rows])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40, help="how often each side trains (default: 40)")
    parser.add_argument("--epochs", type=int, default=3, help="of 57 steps, each time (default: 3)")
    parser.add_argument("--no-peer", dest="peer", action="store_false", help=f"leave out {PEER}")
    parser.add_argument("--peer-python", type=Path, help=f"the interpreter of an environment with {PEER}")
    return parser.parse_args()


def train_in_turn(trained: dict[str, Side], rounds: int, epochs: int) -> dict[str, list[Outcome]]:
    """The outcomes of each side by round. Each round begins with another side; the warm-up is left out."""
    names = list(trained)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in names}
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            outcome = trained[name](epochs)
            if number:
                outcomes[name].append(outcome)
    return outcomes


def row(name: str, done: list[Outcome], yardstick: list[Outcome]) -> tuple[str, ...]:
    times = [outcome.seconds_per_step * 1e6 for outcome in done]
    ratios = [mine.seconds_per_step / plain.seconds_per_step for mine, plain in zip(done, yardstick, strict=True)]
    same = {outcome.weights for outcome in done} == {outcome.weights for outcome in yardstick}
    low, high = middle_half(ratios)
    return (
        name,
        f"{median(times):.0f}",
        f"{min(times):.0f}",
        f"{median(ratios):.2f}",
        f"{low:.2f} to {high:.2f}",
        "own order" if name in OWN_ORDER else "same" if same else "DIFFERENT",
    )


def compare_measured(outcomes: dict[str, list[Outcome]]) -> str:
    """Whether all sides that measure did measure the same, in a sentence."""
    expected = outcomes[YARDSTICK][-1].measured
    different = [
        name
        for name, done in outcomes.items()
        if done[-1].measured and name not in OWN_ORDER and not agree(done[-1].measured, expected)
    ]
    values = ", ".join(f"{name} {value:.4f}" for name, value in expected.items())
    if different:
        return f"In the last epoch the loop measured {values}; NOT the same: {'; '.join(different)}."
    return f"All sides that log and have the same order report the same last epoch: {values}."


def agree(measured: dict[str, float], expected: dict[str, float]) -> bool:
    return measured.keys() == expected.keys() and all(
        isclose(value, expected[name], rel_tol=1e-5) for name, value in measured.items()
    )


if __name__ == "__main__":
    main()
