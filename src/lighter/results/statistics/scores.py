"""The scores of a side, what is said about two sides, and the refusal to say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """The scores of one side: a run, or an experiment with seeds and folds.

    Attributes:
        values: (members,) the metric of each member.
        seeds: of each member; None where it has none.
        folds: of each member; None where it has none.
        samples: of each member the score of each sample by its index in the data set, higher is better; None for a
            member without them, empty if no member has them.
    """

    name: str
    values: np.ndarray
    seeds: tuple[int | None, ...]
    folds: tuple[int | None, ...]
    samples: tuple[Mapping[int, float] | None, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """A number that the scores cannot carry. `reason` is one sentence for the user."""

    reason: str


@dataclass(frozen=True)
class Effect:
    """The difference between two sides, A - B, and how sure it is.

    Attributes:
        difference: of A - B over what was paired, in the metric's unit, the one that `interval` is of: the median of
            the mean of two (Hodges and Lehmann) for a signed-rank interval, otherwise the mean.
        mean_difference: the mean of A - B over what was paired.
        interval: the 95% interval of the difference that is typical: half of new pairs differ by more.
        p_value: of the test that there is no difference; below 0.05 exactly where the interval leaves out 0, but for
            single runs (BCa beside a t test) and where another test was asked for.
        probability_better: the probability that a new member of A beats a new one of B.
        test: the test of the p value, for a table's footnote.
        method: the method of the interval, for a table's footnote.
        pairing: "seed", "fold", "seed and fold", "sample" or "none".
        pairs: the number of pairs; of members of the smaller side if nothing is paired.
        more_members_needed: further members of each side that decide it with a power of 0.8, if the difference and the
            spread are as seen; None if it is decided.
        sampled: the sources of variation that the interval is over: "seeds", "folds", "samples".
    """

    difference: float
    mean_difference: float
    interval: tuple[float, float] | Refusal
    p_value: float | Refusal
    probability_better: float | Refusal
    test: str
    method: str
    pairing: str
    pairs: int
    more_members_needed: int | Refusal | None
    sampled: tuple[str, ...] = ()
