"""The number of further members that would decide a comparison."""

from __future__ import annotations

import math

from lighter.results.statistics.inference import TAIL
from lighter.results.statistics.scipy_import import scipy_special

POWER = 0.8
MOST = 1000


def members_needed(difference: float, variance: float, *, sides: int, fixed: float = 0.0) -> int | None:
    """Return the members of each side with which a t test finds such a difference with a power of 0.8.

    Args:
        difference: between the two means.
        variance: of the paired differences, or of the members of a side.
        sides: 1 if the members are paired, 2 if not.
        fixed: the variance of the difference that more members do not lower, say that of the samples.

    None if more than 1,000 are needed. Source: Cohen, Statistical Power Analysis for the Behavioral Sciences (1988), 2,
    with the noncentral t distribution in place of its tables.
    """

    def is_enough(count: int) -> bool:
        degrees = sides * (count - 1)
        noncentrality = abs(difference) / math.sqrt(variance * sides / count + fixed)
        critical = float(special.stdtrit(degrees, 1 - TAIL))
        return noncentrality > 30 or 1 - float(special.nctdtr(degrees, noncentrality, critical)) >= POWER

    special = scipy_special()
    low, high = 2, MOST
    if not is_enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
