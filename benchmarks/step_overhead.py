"""What a training step costs: a hand-written PyTorch loop, Lightning, and Lighter, on the same small job.

    python benchmarks/step_overhead.py

All sides train in turn, round after round, so that a busy moment of the machine falls on all of them. The first round
is for warming up. A side's ratio is the median over rounds of its time divided by that of the hand-written loop in the
same round. Prints a table and writes it into benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from math import isclose
from pathlib import Path
from statistics import median
from typing import TypeVar

import sides
from peer import RELEASE, PeerError, start_peer
from results import middle_half, report, show_in_readme
from sides import Outcome, Shape

import lighter

Side = Callable[[int], Outcome]
Key = TypeVar("Key")

YARDSTICK = "hand-written loop"
INDEXES = "hand-written, indexes batches"
PEER = f"Lighter {RELEASE} (PyPI)"
ours = partial(sides.lightning, trainer_class=lighter.Trainer)
lean = partial(sides.lightning, trainer_class=sides.as_lightning)
SIDES: dict[str, Callable[..., Outcome]] = {
    YARDSTICK: sides.hand_written,
    INDEXES: partial(sides.hand_written, indexes=True),
    "Lightning, bare": partial(sides.lightning, sides.Bare),
    "Lightning, metrics only": partial(sides.lightning, sides.MetricsOnly),
    "Lightning, self.log": partial(sides.lightning, sides.Idiom),
    "LighterModule": partial(sides.lightning, sides.lighter_module),
    "System": partial(sides.lightning, sides.system),
    "LightningModule, self.log, in lighter.Trainer": partial(ours, sides.Idiom),
    "LighterModule in lighter.Trainer": partial(ours, sides.lighter_module),
    "System in lighter.Trainer": partial(ours, sides.system),
    "LightningModule, lean alone": partial(lean, sides.Idiom),
    "LighterModule, lean alone": partial(lean, sides.lighter_module),
    "System, lean alone": partial(lean, sides.system),
}
# of samples: `DataLoader` draws a seed for workers too, and a fit that can go on draws by its position
OWN_ORDER = (INDEXES, *(name for name in SIDES if name.endswith("in lighter.Trainer")))
SIZES = (32, 256)
COLUMNS = (
    "side",
    *(f"{size}: {name}" for size in SIZES for name in ("µs/step", "ratio", "middle half", "to indexing")),
)
COLUMNS = (*COLUMNS, "weights")
IN_README = (0, 2, 4, 6, 8)  # the side, and its two ratios at each size
BEFORE = f"""`python benchmarks/step_overhead.py`: scikit-learn's digits, a 64-64-10 MLP, Adam, batches of 32 and 256;
loss, accuracy and macro F1; a CSV logger at Lightning's default interval of 50 steps; no progress bar, no checkpoints;
one thread; {sides.TIMED} of whole epochs, of 57 and 8 steps.

- hand-written loop: plain PyTorch; the loss is summed and the metrics are updated at each step; the values of every
  50th step and of each epoch are written to a CSV file
- hand-written, indexes batches: the same loop, which takes no `DataLoader` but one index per batch from the tensors
- Lightning, bare: a LightningModule that measures nothing; metrics only: one that updates the metrics and logs nothing
- Lightning, self.log: the documented way, each value with `on_step=True, on_epoch=True`; and the same in
  `lighter.Trainer`
- LighterModule and System: in Lightning's Trainer, and in `lighter.Trainer`; lean alone: in `lighter.Trainer` with
  `exact_resume=False, on_non_finite="continue"`, so that it does no more than the hand-written loop
- Lighter 0.1.0: the same class with that release, in an environment of its own with the same torch and Lightning"""
AFTER = """How to read it: a ratio of 2 means that a step takes twice as long as in the hand-written loop; to
indexing: as in the one that indexes batches. The network is tiny on purpose: the difference in microseconds is the
framework's, and does not grow with the network. {rounds} rounds of {epochs} epochs of batches of 32, and eight times
as many of 256, all sides in turn. Times and ratios are medians over rounds; a ratio compares within its round, and
half of the rounds lie in the middle half. Same weights: at the end they equal those of the hand-written loop, bit for
bit; own order: shuffled by other numbers, as in a fit that can go on exactly where it was.
{measured}"""


def main() -> None:
    options = parse_arguments()
    sides.settle()
    trained: dict[tuple[str, int], Side] = {
        (name, size): partial(train, side, size) for size in SIZES for name, side in SIDES.items()
    }
    remark = ""
    with ExitStack() as stack:
        if options.peer:
            try:
                peer = stack.enter_context(closing(start_peer(options.peer_python)))
                trained[PEER, SIZES[0]] = peer.train
            except PeerError as error:
                remark = f"\n{PEER} could not be measured: {error}"
        outcomes = train_in_turn(trained, options.rounds, options.epochs)
    rows = [row(name, outcomes) for name in (*SIDES, PEER)]
    measured = compare_measured({name: done for (name, size), done in outcomes.items() if size == SIZES[0]})
    after = AFTER.format(rounds=options.rounds, epochs=options.epochs, measured=measured) + remark
    report("Overhead of a training step", COLUMNS, rows, before=BEFORE, after=after)
    shown = [[cells[number] for number in IN_README] for cells in (COLUMNS, *rows)]
    show_in_readme(shown[0], shown[1:])


def train(side: Callable[..., Outcome], size: int, epochs: int) -> Outcome:
    """Train about as many steps with batches of any size."""
    return side(epochs * size // SIZES[0], shape=Shape(batch_size=size))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="how often each side trains (default: 20)")
    parser.add_argument("--epochs", type=int, default=4, help="of 57 steps, each time, or so many steps (default: 4)")
    parser.add_argument("--no-peer", dest="peer", action="store_false", help=f"leave out {PEER}")
    parser.add_argument("--peer-python", type=Path, help=f"the interpreter of an environment with {PEER}")
    return parser.parse_args()


def train_in_turn(trained: Mapping[Key, Side], rounds: int, epochs: int) -> dict[Key, list[Outcome]]:
    """The outcomes of each side by round. Each round begins with another side; the warm-up is left out."""
    names = list(trained)
    outcomes: dict[Key, list[Outcome]] = {name: [] for name in names}
    for number in range(rounds + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            outcome = trained[name](epochs)
            if number:
                outcomes[name].append(outcome)
    return outcomes


def row(name: str, outcomes: Mapping[tuple[str, int], list[Outcome]]) -> tuple[str, ...]:
    cells, same = [name], []
    for size in SIZES:
        done, yardstick = outcomes.get((name, size)), outcomes[YARDSTICK, size]
        if done is None:
            cells += ["-"] * 4
            continue
        ratios = to(done, yardstick)
        low, high = middle_half(ratios)
        cells += [
            f"{median(outcome.seconds_per_step for outcome in done) * 1e6:.0f}",
            f"{median(ratios):.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{median(to(done, outcomes[INDEXES, size])):.2f}",
        ]
        same.append({outcome.weights for outcome in done} == {outcome.weights for outcome in yardstick})
    alike = "same" if same and all(same) else "DIFFERENT" if same else "-"
    return (*cells, "own order" if name in OWN_ORDER else alike)


def to(done: list[Outcome], others: list[Outcome]) -> list[float]:
    return [mine.seconds_per_step / other.seconds_per_step for mine, other in zip(done, others, strict=True)]


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
