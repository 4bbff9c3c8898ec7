"""The outcome of a try: a verdict, in a sentence and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lighter.results.wording import number
from lighter.tries.evidence import evidence, lower_limit
from lighter.tries.ledger import Pair
from lighter.tries.levels import WORSE

BETTER, WORSE_VERDICT, UNDECIDED = "better", "worse", "undecided"
EXIT_CODES = {BETTER: 0, WORSE_VERDICT: 10, UNDECIDED: 11}


@dataclass(frozen=True)
class Cost:
    """Fits and seconds that a try took, of both sides; fits of the baseline that were there already took nothing."""

    candidate_fits: int = 0
    candidate_seconds: float = 0.0
    baseline_fits: int = 0
    baseline_seconds: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """The result of a try.

    Attributes:
        verdict: `better`, `worse` or `undecided`; None of a dry run.
        reason: why an undecided try stopped: `max_pairs`, `hopeless` or `nothing`; else empty.
        number: of the try; None if nothing was begun.
        level: the chance by which it may be called better without being so.
        tries: how many count so far, with this one.
        changes: the paths of the config that the overrides changed.
    """

    verdict: str | None
    baseline: str
    overrides: tuple[str, ...]
    metric: str
    is_maximized: bool
    level: float
    max_pairs: int
    tries: int
    reason: str = ""
    number: int | None = None
    pairs: tuple[Pair, ...] = ()
    changes: tuple[str, ...] = ()
    cost: Cost = field(default_factory=Cost)
    folder: str = ""
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        return EXIT_CODES.get(self.verdict or BETTER, 0)

    @property
    def gains(self) -> list[float]:
        """The improvement of the candidate in each pair."""
        return gains(self.pairs, self.is_maximized)

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The interval of the mean difference, candidate - baseline; None where the pairs set no limit.

        It is above zero (below, of a metric that is to be small) just where the verdict is `better`. Each limit holds
        whenever one looks, the one towards `worse` with the probability 1 - `WORSE`, the other with 1 - `level`.
        """
        low = lower_limit(self.gains, self.level)
        high = -lower_limit([-each for each in self.gains], WORSE)
        limits = (low, high) if self.is_maximized else (-high, -low)
        return tuple(each if math.isfinite(each) else None for each in limits)  # type: ignore[return-value]

    @property
    def sentence(self) -> str:
        """The verdict in words, with the difference, its interval, the pairs and the cost."""
        change, metric = " ".join(self.overrides), self.metric.removesuffix("/epoch")
        if self.verdict is None:
            return f"`{change}` may be tried against {self.baseline} by {metric}: nothing was trained."
        if self.reason == "nothing":
            return f"`{change}` changes nothing: {self._same()}, so it is undecided."
        facts = f"{metric} {self._difference()} ({self._interval()}; {self._counted()})"
        if self.verdict == UNDECIDED:
            why = {
                "max_pairs": f"{self.max_pairs} pairs do not decide it",
                "hopeless": f"it is unlikely to be found better within {self.max_pairs} pairs",
            }
            return f"Whether `{change}` is better than {self.baseline} is undecided: {facts}; {why[self.reason]}."
        return f"`{change}` is {self.verdict} than {self.baseline}: {facts}."

    def public(self) -> dict[str, Any]:
        """Return the outcome as data for programs. These fields stay; others may come."""
        pairs = [
            {"seed": each.seed, "baseline": each.baseline, "candidate": each.candidate, "difference": each.difference}
            for each in self.pairs
        ]
        return {
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "sentence": self.sentence,
            "reason": self.reason or None,
            "changes_nothing": self.reason == "nothing",
            "baseline": self.baseline,
            "overrides": list(self.overrides),
            "changed": list(self.changes),
            "metric": self.metric,
            "mode": "max" if self.is_maximized else "min",
            "difference": _mean([each.difference for each in self.pairs]),
            "interval": list(self.interval) if self.pairs else [None, None],
            "pairs": pairs,
            "max_pairs": self.max_pairs,
            "evidence": evidence(self.gains) if self.pairs else None,
            "needed": 1 / self.level,
            "level": self.level,
            "try": self.number,
            "tries": self.tries,
            "cost": {**vars(self.cost)},
            "folder": self.folder or None,
            "notes": list(self.notes),
        }

    def _same(self) -> str:
        return "the config is the same" if not self.changes else "with one seed, both fits came to the same bits"

    def _difference(self) -> str:
        mean = _mean([each.difference for each in self.pairs]) or 0.0
        return f"is {'higher' if mean > 0 else 'lower'} by {number(abs(mean))}" if mean else "is the same on average"

    def _interval(self) -> str:
        low, high = self.interval
        if low is None or high is None:
            known = (
                f"at least {number(low)}" if low is not None else f"at most {number(high)}" if high is not None else ""
            )
            return f"the difference is {known}" if known else "too few pairs for an interval"
        return f"between {number(low)} and {number(high)}"

    def _counted(self) -> str:
        seconds = self.cost.candidate_seconds + self.cost.baseline_seconds
        fits = self.cost.candidate_fits + self.cost.baseline_fits
        pairs = f"{len(self.pairs)} pair{'s' * (len(self.pairs) != 1)}"
        return f"{pairs}, {fits} fits in {seconds:.0f} s, try {self.tries}"


def gains(pairs: Sequence[Pair], is_maximized: bool) -> list[float]:
    """Return how much better the candidate is in each pair, positive for better."""
    return [each.difference if is_maximized else -each.difference for each in pairs]


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
