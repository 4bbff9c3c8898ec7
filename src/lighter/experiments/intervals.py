"""A mean over seeds and folds with its confidence interval, by Student's t distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """The mean of some values, and the half width of its 95% confidence interval.

    There is no interval (None) of one value, or where a value or the spread is not finite. The members of an experiment
    are taken as independent; as folds share training data, the interval over folds is too narrow rather than too wide.
    """

    mean: float
    half_width: float | None
    count: int

    def __str__(self) -> str:
        if self.half_width is None:
            return f"{self.mean:.4g}"
        if self.half_width == 0:
            return f"{self.mean:.4g} ± 0"
        digits = max(1 - math.floor(math.log10(self.half_width)), 0)  # two digits of what is not known
        if digits > 6 or max(abs(self.mean), self.half_width) >= 1e6:
            return f"{self.mean:.4g} ± {self.half_width:.2g}"
        return f"{self.mean:.{digits}f} ± {self.half_width:.{digits}f}"


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of one or more values, and its interval."""
    count, mean = len(values), mean_of(values)
    if count == 1 or not math.isfinite(mean):
        return Estimate(mean, None, count)
    variance = _sum([(value - mean) * (value - mean) for value in values]) / (count - 1)
    half_width = t_quantile(count - 1) * math.sqrt(variance / count) if math.isfinite(variance) else None
    return Estimate(mean, half_width, count)


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of one or more values, whatever diverged among them: it is then Inf or NaN."""
    return _sum(values) / len(values)


def _sum(values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # it raises where a sum of floats is Inf or NaN
        return sum(values)


@lru_cache(maxsize=1024)
def t_quantile(degrees: int, confidence: float = CONFIDENCE) -> float:
    """Return t such that a value of Student's distribution is between -t and t with a probability of `confidence`.

    The probability is a finite sum in the angle atan(t / sqrt(degrees)): Abramowitz and Stegun, Handbook of
    Mathematical Functions, 26.7.3 and 26.7.4. It grows with the angle, which is found by bisection.
    """
    low, high = 0.0, math.pi / 2
    while low < (angle := (low + high) / 2) < high:
        if _probability(angle, degrees) < confidence:
            low = angle
        else:
            high = angle
    return math.tan(angle) * math.sqrt(degrees)


def _probability(angle: float, degrees: int) -> float:
    """Return the probability of values between -t and t, for the angle of t."""
    cosine = math.cos(angle)
    is_odd = degrees % 2
    # cos + 2/3 cos^3 + (2 4)/(3 5) cos^5 + ..., and for an even number 1 + 1/2 cos^2 + (1 3)/(2 4) cos^4 + ...
    term = cosine if is_odd else 1.0
    terms = [term] if degrees > 1 else []
    for power in range(2 + is_odd, degrees - 1, 2):
        term *= cosine * cosine * (power - 1) / power
        terms.append(term)
    sines = math.sin(angle) * math.fsum(terms)
    return (angle + sines) * 2 / math.pi if is_odd else sines
