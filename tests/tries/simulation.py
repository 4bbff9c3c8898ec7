"""Ledgers of many tries, simulated with the code's own test, evaluated on a grid so that thousands are quick.

Run as a script it prints the figures that docs/15 has: `python -m tests.tries.simulation`.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lighter.tries import evidence as code
from lighter.tries.levels import WORSE, level

PAIRS = 20


@cache
def threshold(count: int, at: float) -> float:
    """Return the share u from which the evidence of so many pairs reaches 1/at; 2 if it never does."""
    reached = [u for u in (0.0, 1.0) if code._mixture(count, u) >= 1 / at]
    if not reached:
        return 2.0
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if code._mixture(count, middle) >= 1 / at else (middle, high)
    return high


def verdicts(differences: np.ndarray, most: int = PAIRS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, of each row of differences, whether it is better, whether worse, and after how many pairs."""
    count = np.arange(1, most + 1)
    values = differences[..., :most]
    squares = (values**2).cumsum(-1)
    share = values.cumsum(-1) / np.sqrt(np.maximum(count * squares, 1e-300))
    better = share >= [threshold(n, level(1)) for n in count]
    worse = -share >= [threshold(n, WORSE) for n in count]
    mean = values.cumsum(-1) / count
    deviation = np.sqrt(np.maximum(squares - count * mean**2, 0) / np.maximum(count - 1, 1))
    hoped = mean + 1.5 * deviation / np.sqrt(count)
    size = np.maximum(np.hypot(hoped, deviation), 1e-300)
    hopeless = (hoped <= 0) | (hoped / size < threshold(most, level(1)))
    looks = count >= code.LEAST_PAIRS
    stops = (better | worse | hopeless) & looks
    stops[..., -1] = True
    first = stops.argmax(-1)

    def at(flags: np.ndarray) -> np.ndarray:
        return np.take_along_axis(flags, first[..., None], -1)[..., 0]

    return at(better), at(worse) & ~at(better), first + 1


def _fits(draw, random, ledgers, tries):
    # one baseline for all tries of a ledger, as the code has it
    return draw(random, (ledgers, tries, PAIRS)) - draw(random, (ledgers, 1, PAIRS))


def _of_fits(draw):
    return lambda random, ledgers, tries: _fits(draw, random, ledgers, tries)


def _accuracy(samples, rate):
    return lambda random, shape: random.binomial(samples, rate, shape) / samples


DIFFERENCES = {
    "normal": _of_fits(lambda random, shape: random.normal(size=shape)),
    "skewed": _of_fits(lambda random, shape: random.exponential(size=shape)),
    "skewed the other way": _of_fits(lambda random, shape: -random.lognormal(size=shape)),
    "heavy tails": _of_fits(lambda random, shape: random.standard_t(2, size=shape)),
    "accuracy on 1000": _of_fits(_accuracy(1000, 0.9)),
    "accuracy on 50": _of_fits(_accuracy(50, 0.9)),
    "accuracy on 10": _of_fits(_accuracy(10, 0.9)),
    "one seed in ten fails": _of_fits(
        lambda random, shape: random.normal(size=shape) - 10 * (random.random(shape) < 0.1)
    ),
    "skewed to the good": lambda random, ledgers, tries: random.exponential(size=(ledgers, tries, PAIRS)) - 1,
}


def simulate(kind: str, ledgers: int, tries: int, seed: int = 0) -> np.ndarray:
    """Return how many of the tries of each ledger are kept, all of which change nothing."""
    random = np.random.default_rng(seed)
    parts = [DIFFERENCES[kind](random, min(100, ledgers - start), tries) for start in range(0, ledgers, 100)]
    return np.concatenate([verdicts(part)[0].sum(-1) for part in parts])


def pairs_needed(effect: float, tries: int, seed: int = 0) -> tuple[float, float]:
    """Return the share of real effects that are found, and how many pairs that takes on average."""
    better, _, pairs = verdicts(np.random.default_rng(seed).normal(effect, 1, (tries, PAIRS)))
    return float(better.mean()), float(pairs.mean())


def skewed_to_the_bad(ledgers: int, tries: int) -> np.ndarray:
    """Return the same for differences that are mostly a little above zero and at times far below: mean 0."""
    random = np.random.default_rng(0)
    parts = [1 - random.exponential(size=(min(100, ledgers - start), tries, PAIRS)) for start in range(0, ledgers, 100)]
    return np.concatenate([verdicts(part)[0].sum(-1) for part in parts])


def main() -> None:
    for name in (*DIFFERENCES, "skewed to the bad"):
        kept = skewed_to_the_bad(2000, 100) if name == "skewed to the bad" else simulate(name, 2000, 100)
        counts = np.bincount(np.minimum(kept, 6), minlength=7)
        print(f"{name:24} mean {kept.mean():.3f}  0..5, more: {counts.tolist()}  most {kept.max()}")
    for effect in (0, 0.5, 1, 1.5, 2, 3):
        print("effect", effect, *(f"{each:.3f}" for each in pairs_needed(effect, 20_000)))


if __name__ == "__main__":
    main()
