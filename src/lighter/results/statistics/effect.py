"""Compare two sides: the difference, its 95% interval, a test, and what the scores cannot carry.

Which interval, and why (coverage from `benchmarks/comparison_statistics.py`, nominal 95%):

- **The interval is of the typical difference**, the one that half of all new pairs exceed. It is the mean's too where
  differences are symmetric. Of more than 10 skewed differences it is of their pseudo-median (Hodges and Lehmann): the
  median of the mean of two. No interval of the mean holds for every distribution (Bahadur and Savage 1956): from 3 to
  10 lognormal or exponential metrics of unlike spread, Student's t covers the mean with 84 to 92%, BCa with less.
- **3 to 5 pairs: Student's t**, which covers the typical difference with 93 to 98%. Nothing free of assumptions exists:
  the range of five values is an interval of 93.75%, of four 87.5%, and no permutation test can reach 5%.
- **6 pairs and more: the signed-rank (Hodges-Lehmann) interval**, the inverse of the exact signed-rank test. It is as
  wide as Student's within 10%, for 6 pairs 27%, and covers whatever the distribution, also a coarse one.
- **Unpaired: Welch's t**, from 3 members. Exact rank intervals (Mann-Whitney) fail where spreads differ: 86% for 3
  against 6 members. If the sizes differ and one side has 3 or 4 members, there is no interval: down to 90% is covered.
- **Folds: Nadeau and Bengio's corrected t.** Folds share training data, so a plain t test calls a difference where
  there is none in far more than 5%.
- **One run against one: BCa over samples**, which does not know what another seed would do.

What was tried besides, and failed: BCa and percentile bootstrap over 3 to 10 members (65 to 91%; over members that is
what a hierarchical bootstrap comes to); a transformed scale for metrics in [0, 1] (it is of another quantity, in
another unit); refusing where values look skewed or close to a bound (the ones that are not refused are those that look
narrow by chance: 50 to 90%). Student's and Welch's t are too wide, by up to 1.5%, where both sides are alike and have
heavy tails.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from lighter.results.statistics.corrections import holm
from lighter.results.statistics.inference import (
    CONFIDENCE,
    Inference,
    bca,
    crossed,
    exchanges,
    paired_t,
    sign_flips,
    signed_rank,
    welch,
)
from lighter.results.statistics.pairing import LEAST, Pairs, pair
from lighter.results.statistics.power import MOST, members_needed
from lighter.results.statistics.samples import metric_tables, sample_tables
from lighter.results.statistics.scores import Effect, Refusal, Scores

__all__ = ["Effect", "Refusal", "Scores", "Test", "effect", "holm"]

Test = Literal["auto", "permutation"]

LEAST_EXACT = 6  # 2 of 2^6 flips of signs are 3.1%, 2 of 2^5 are 6.3%
LEAST_UNEQUAL = 5


def effect(
    one: Scores,
    other: Scores,
    *,
    is_maximized: bool,
    seed: int = 0,
    test: Test = "auto",
    share: float | None = None,
) -> Effect:
    """Compare two sides by the scores of their members.

    Args:
        is_maximized: True if a greater score is better.
        seed: of the resampling.
        test: "auto" for the test that belongs to the interval, or "permutation" of the means.
        share: the size of a fold's test data divided by that of its training data; by default that of K folds of
            equal size, 1 / (K - 1). It has to be given where folds are repeated.
    """
    pairs = pair(one, other)
    if isinstance(pairs, Refusal):
        return _refused(pairs, Pairs("none", one.values, other.values), one, other, is_maximized)
    if len(one.values) == len(other.values) == 1 and not pairs.has_folds:
        over_samples = _over_samples(one, other, seed, is_maximized)
        if over_samples is not None:
            return over_samples
    inference = infer(pairs, share)
    if isinstance(inference, Refusal):
        return _refused(inference, pairs, one, other, is_maximized)
    tables = None if pairs.has_folds else metric_tables(one, other, pairs, is_maximized=is_maximized)
    if tables is not None:
        inference = crossed(*tables, is_paired=pairs.pairing != "none")
    if test == "permutation":
        inference = _permutation(inference, pairs, seed)
    return Effect(
        difference=pairs.difference if inference.estimate is None else inference.estimate,
        mean_difference=pairs.difference,
        interval=inference.interval,
        p_value=inference.p_value,
        probability_better=_probability_better(one, other, is_maximized),
        test=inference.test,
        method=inference.method,
        pairing=pairs.pairing,
        pairs=min(len(pairs.one), len(pairs.other)),
        more_members_needed=_more_members(pairs, inference),
        sampled=_sampled(pairs, tables is not None),
    )


def infer(pairs: Pairs, share: float | None = None) -> Inference | Refusal:
    """Return the interval and test that hold for so many values of members, paired or not, or why none does."""
    reason = _refusal(pairs)
    if reason:
        return Refusal(reason)
    if pairs.pairing == "none":
        return welch(pairs.one, pairs.other)
    differences = pairs.one - pairs.other
    if pairs.has_folds:
        return paired_t(differences, 1 / (len(differences) - 1) if share is None else share)
    return (signed_rank if len(differences) >= LEAST_EXACT else paired_t)(differences)


def _permutation(inference: Inference, pairs: Pairs, seed: int) -> Inference:
    """Replace the test by the permutation test of the means; folds share data, so they cannot be exchanged."""
    if pairs.has_folds:
        return inference
    if pairs.pairing == "none":
        p_value, name = exchanges(pairs.one, pairs.other, seed), "permutation test"
    else:
        p_value, name = sign_flips(pairs.one - pairs.other, seed), "paired permutation test"
    return replace(inference, p_value=p_value, test=name)


def _refusal(pairs: Pairs) -> str:
    """Return why the values carry no interval; an empty text if they do."""
    sizes = sorted((len(pairs.one), len(pairs.other)))
    noun = "folds" if pairs.has_folds else "seeds"
    if not all(np.all(np.isfinite(side)) for side in (pairs.one, pairs.other)):
        return "Some members have no finite score, and what is left without them would look better than it is."
    if sizes[0] < LEAST:
        of = f"{sizes[0]} {'member' if sizes[0] == 1 else 'members'}"
        return f"{of} of a side cannot carry an interval; {LEAST} {noun} or more can."
    if pairs.pairing == "none" and sizes[0] != sizes[1] and sizes[0] < LEAST_UNEQUAL:
        return (
            f"An interval of {sizes[0]} against {sizes[1]} members without common seeds holds too rarely: give both "
            f"sides the same seeds, as many members, or each {LEAST_UNEQUAL} or more."
        )
    return _constant(pairs)


def _constant(pairs: Pairs) -> str:
    """Return why values without any spread carry no interval."""
    if pairs.pairing == "none":
        if _is_constant(pairs.one) and _is_constant(pairs.other):
            return "All members of a side have the same score: the seeds change nothing, or the metric is too coarse."
    elif _is_constant(pairs.one - pairs.other):
        equal = "are 0: both sides may be the same runs" if np.allclose(pairs.one, pairs.other) else "are equal"
        return f"All differences {equal}: the seeds change nothing that counts, or the metric is too coarse."
    return ""


def _is_constant(values: np.ndarray) -> bool:
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.max(np.abs(values)))))


def _refused(refusal: Refusal, pairs: Pairs, one: Scores, other: Scores, is_maximized: bool) -> Effect:
    sizes = (len(pairs.one), len(pairs.other))
    enough = min(len(one.values), len(other.values)) >= LEAST and "finite" not in refusal.reason
    return Effect(
        difference=pairs.difference,
        mean_difference=pairs.difference,
        interval=refusal,
        p_value=refusal,
        probability_better=_probability_better(one, other, is_maximized) if enough else refusal,
        test="none",
        method="none",
        pairing=pairs.pairing,
        pairs=min(sizes),
        more_members_needed=Refusal("The spread is not known, so neither is how many more members would decide it."),
    )


def _sampled(pairs: Pairs, has_samples: bool) -> tuple[str, ...]:
    if pairs.has_folds:
        return ("folds", "seeds") if pairs.pairing == "seed and fold" else ("folds",)
    return ("seeds", "samples") if has_samples else ("seeds",)


def _probability_better(one: Scores, other: Scores, is_maximized: bool) -> float:
    """Return the share of all pairs of members that A wins, with half of the ties (Mann and Whitney 1947)."""
    better = np.subtract.outer(one.values, other.values) * (1 if is_maximized else -1)
    return float(np.mean(better > 0) + np.mean(better == 0) / 2)


def _more_members(pairs: Pairs, inference: Inference) -> int | Refusal | None:
    if inference.p_value < 1 - CONFIDENCE:
        return None
    difference = pairs.difference
    if pairs.pairing == "none":
        sides, variance = 2, float(np.var(pairs.one, ddof=1) + np.var(pairs.other, ddof=1)) / 2
    else:
        sides, variance = 1, float(np.var(pairs.one - pairs.other, ddof=1))
    needed = members_needed(difference, variance, sides=sides, fixed=inference.fixed_variance)
    if needed is None:
        return Refusal(_no_number(pairs, inference))
    count = min(len(pairs.one), len(pairs.other))
    return max(needed, LEAST_EXACT if sides == 1 and not pairs.has_folds else LEAST, count + 1) - count


def _no_number(pairs: Pairs, inference: Inference) -> str:
    if pairs.has_folds:
        return "More folds of the same data do not decide it, as they share that data; more data may."
    if inference.fixed_variance:
        return "More members do not decide it: the samples are too few for so small a difference."
    return f"More than {MOST:,} members of each side: the difference is tiny beside the spread."


def _over_samples(one: Scores, other: Scores, seed: int, is_maximized: bool) -> Effect | None:
    """Compare a single run with another by the samples that both recorded; None if there are none."""
    tables = sample_tables(one, other, is_maximized=is_maximized)
    if tables is None:
        return None
    differences = (tables[0] - tables[1])[0]
    refusal = Refusal("One run of each side says nothing about other seeds: train both with 3 seeds or more.")
    if _is_constant(differences):
        same = Refusal("The scores of all samples differ by the same: both runs may be one.")
        return _refused(same, Pairs("sample", differences, 0 * differences), one, other, is_maximized)
    inference = bca(differences, seed)
    return Effect(
        difference=float(np.mean(differences)),
        mean_difference=float(np.mean(differences)),
        interval=inference.interval,
        p_value=inference.p_value,
        probability_better=refusal,
        test=inference.test,
        method=inference.method,
        pairing="sample",
        pairs=len(differences),
        more_members_needed=refusal,
        sampled=("samples",),
    )
