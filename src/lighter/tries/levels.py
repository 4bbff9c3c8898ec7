"""The evidence that a try needs, so that of many tries against one baseline few are kept by chance.

All tries share the fits of the baseline, so their errors are dependent: a baseline with bad luck makes everything look
better. To bound the expected number of errors is therefore not enough. If the levels of all tries sum to at most
6 * alpha, the chance that more than 5 changes that do nothing are kept is at most alpha, however the tries depend on
each other: by Markov's inequality, P(V >= 6) <= E[V] / 6. That is the generalised familywise error rate of Lehmann &
Romano, Annals of Statistics 33 (2005), https://arxiv.org/abs/math/0507420, spent over a stream of tries.

The first 100 tries have the same level: 5/6 of that sum. What is left is spread over all later ones, so that the bound
holds without an end.
"""

from __future__ import annotations

MOST_KEPT = 5
FULL_TRIES = 100
ALPHA = 0.02
"""The chance that more than 5 of all changes that do nothing are kept."""

WORSE = 0.05
"""The level of the verdict `worse`, of each try by itself: who acts on it only drops a change."""


def level(number: int, alpha: float = ALPHA) -> float:
    """Return the chance by which the try of this number, from 1 on, may be kept without being better."""
    full = (MOST_KEPT + 1) * alpha / (FULL_TRIES + 20)
    if number <= FULL_TRIES:
        return full
    # 1 / (n (n - 1)) from 101 on sums to 1/100
    return full * 20 * FULL_TRIES / (number * (number - 1))
