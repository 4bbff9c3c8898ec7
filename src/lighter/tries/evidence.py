"""A sequential test of paired differences that may be looked at after each pair, and stopped or extended at will.

The evidence is a mixture of likelihood ratios of Student's t: each compares "the mean is `effect` standard deviations
above zero" with "it is zero", for the effects 1 and 2. It does not depend on the unknown standard deviation, and under
"no better" it is an e-process: the chance that it ever reaches 1/level is at most `level` (Ville's inequality).

With u = sum(d) / sqrt(n * sum(d**2)), which is in [-1, 1], the ratio for n differences and an effect e is

    exp(-n e**2 / 2) * integral of w**(n-1) exp(-w**2/2 + e sqrt(n) u w) / integral of w**(n-1) exp(-w**2/2)

over w > 0. It is bounded for each n, so that a few equal differences are never overwhelming evidence: accuracies on few
samples are often equal.

References: Pérez-Ortiz, Lardy, de Heide & Grünwald, "E-statistics, group invariance and anytime-valid testing", Annals
of Statistics 52 (2024), https://arxiv.org/abs/2208.07610; Ramdas, Grünwald, Vovk & Shafer, "Game-theoretic statistics
and safe anytime-valid inference", Statistical Science 38 (2023), https://arxiv.org/abs/2210.01948.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import count as count_from

import numpy as np

EFFECTS = (1.0, 2.0)
"""The effects, in standard deviations of the differences, that the test looks for."""

LEAST_PAIRS = 4
"""Before so many pairs, no try is given up as hopeless."""

_OPTIMISM = 1.5  # standard errors by which the mean may be better than it seems
_STEPS = 60  # of a bisection: as many as a float has bits, and some


def evidence(differences: Sequence[float]) -> float:
    """Return the evidence that the mean of paired differences is above zero; 1 says nothing, and for zeros alone."""
    count, squares = len(differences), math.fsum(each * each for each in differences)
    if not squares:
        return 1.0
    return _mixture(count, math.fsum(differences) / math.sqrt(count * squares))


def lower_limit(differences: Sequence[float], level: float) -> float:
    """Return a limit that the true mean is above, with probability 1 - level whenever one looks; maybe -inf.

    It is above zero just where the evidence has reached 1/level.
    """
    if not differences or _mixture(len(differences), 1.0) < 1 / level:
        return -math.inf
    mean = math.fsum(differences) / len(differences)
    step = max(map(abs, differences)) or 1.0
    low = mean - step
    # evidence against a mean grows as that goes away from the data
    while evidence([each - low for each in differences]) < 1 / level:
        step *= 2
        low = mean - step
    high = mean
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if evidence([each - middle for each in differences]) >= 1 / level:
            low = middle
        else:
            high = middle
    return low


def is_hopeless(differences: Sequence[float], most_pairs: int, level: float) -> bool:
    """Return whether the evidence would not come to 1/level by `most_pairs`, were the mean 1.5 errors higher.

    To stop for this reason can only lower the chance of an error.
    """
    count = len(differences)
    if count < LEAST_PAIRS:
        return False
    mean = math.fsum(differences) / count
    deviation = math.sqrt(math.fsum((each - mean) ** 2 for each in differences) / (count - 1))
    hoped = mean + _OPTIMISM * deviation / math.sqrt(count)
    size = math.hypot(hoped, deviation)
    return hoped <= 0 or _mixture(most_pairs, hoped / size) < 1 / level


def least_pairs(level: float) -> int:
    """Return how many pairs can give evidence of 1/level at least, were they all alike."""
    return next(count for count in count_from(2) if _mixture(count, 1.0) >= 1 / level)


def _mixture(count: int, share: float) -> float:
    return math.fsum(_ratio(count, share, effect) for effect in EFFECTS) / len(EFFECTS)


@lru_cache(maxsize=4096)
def _ratio(count: int, share: float, effect: float) -> float:
    shift = effect * math.sqrt(count) * share
    # the integrand is narrower than a normal density around its peak
    peak = (shift + math.sqrt(shift * shift + 4 * (count - 1))) / 2
    grid = np.linspace(max(peak - 10, 1e-9), peak + 10, 2001)
    logs = (count - 1) * np.log(grid) - grid**2 / 2 + shift * grid
    top = float(logs.max())
    heights = np.exp(logs - top)
    area = float((heights.sum() - (heights[0] + heights[-1]) / 2) * (grid[1] - grid[0]))
    norm = (count / 2 - 1) * math.log(2) + math.lgamma(count / 2)
    return math.exp(min(math.log(area) + top - norm - count * effect**2 / 2, 700.0))
