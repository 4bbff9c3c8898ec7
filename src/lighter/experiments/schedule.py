"""Schedules: which trials train on, decided from what all trials have reached so far.

A schedule has rungs, values of a counter (epochs, say) at which a fit pauses; the end of the fit is the last one. A new
trial trains up to its first rung. From then on it is promoted rung by rung, and resumes exactly where it paused, so
that nothing is trained twice. Trials that are never promoted stay paused.

Every decision is a function of the trials alone, in whatever order they are given: the same folders lead to the same
decisions, whatever was killed in between. A trial that has failed, or whose objective is NaN, counts as the worst.

References: asynchronous successive halving (ASHA), Li et al., https://arxiv.org/abs/1810.05934; Hyperband, Li et al.,
https://arxiv.org/abs/1603.06560; median stopping, Golovin et al., https://doi.org/10.1145/3097983.3098043.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from lighter.experiments.trials import Objective, Trial, best_first

Promotion = tuple[int, int]
"""The number of a trial, and the index of the rung up to which it is to train next."""

PROGRESS = {"trainer::max_epochs": "epoch", "trainer::max_steps": "step"}
"""The keys of `progress` in a run's record by counter; a limit of time has none."""

_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Schedule:
    """The schedule `none`: every trial trains to its end. The base of all others.

    Attributes:
        objective: by which trials are compared.
        by: the counter of the trainer, `trainer::max_epochs`; empty without rungs.
        rungs: the values of the counter at which a fit pauses; times are in seconds.
        limit: the value of the counter at which the config ends a fit; `inf` if it does not, or if that is not known.
    """

    objective: Objective
    by: str = ""
    rungs: tuple[float, ...] = ()
    limit: float = math.inf

    @property
    def last(self) -> int:
        """The index of the rung at which a fit has come to its end: one more rung, unless the last one is the limit."""
        return len(self.rungs) - (self.limit in self.rungs[-1:])

    def pause(self, target: int) -> tuple[str, float] | None:
        """Return the counter and its value at which a fit pauses; None if it trains to its end."""
        return (self.by, self.rungs[target]) if target < self.last else None

    def first_rung(self, number: int) -> int:
        """Return the index of the rung up to which a new trial trains first."""
        return self.last

    def expected(self, total: int) -> list[float]:
        """Return about how many of so many trials will train up to each rung or further, to tell the time left."""
        firsts = Counter(map(self.first_rung, range(total)))
        return [
            sum(number * self._share ** max(rung - first, 0) for first, number in firsts.items())
            for rung in range(self.last + 1)
        ]

    def length(self, rung: int) -> float:
        """Return how far a rung is, by the counter; about, if the end is not known, and 1 without rungs."""
        if rung < 0 or not self.rungs:
            return float(rung >= 0)
        pause = self.pause(rung)
        end = self.limit if math.isfinite(self.limit) else 2 * self.rungs[-1]
        return end if pause is None else pause[1]

    @property
    def _share(self) -> float:
        """The share of those at a rung that is promoted."""
        return 0.0

    def promotion(self, trials: Sequence[Trial], total: int | None = None) -> Promotion | None:
        """Return the next promotion that can start now; None if there is none.

        `total` is the number of trials that were asked for. Once they are all there and nothing is left to do, the best
        of those that compete is promoted until one has come to its end: of two trials, no third part could be.
        """
        best = next(self._promoted(trials), None)
        if best is None and total is not None and len(trials) >= total:
            best = self._last_resort(trials)
        return (best.number, best.target + 1) if best is not None else None

    def _promoted(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        """Yield the trials that are to be promoted, the first one first."""
        return iter(())

    def _last_resort(self, trials: Sequence[Trial]) -> Trial | None:
        if not all(trial.is_at(trial.target) for trial in trials):
            return None
        for rung in range(self.last, -1, -1):
            best = best_first([trial for trial in trials if trial.target == rung], self.objective, rung)
            if best:
                return best[0] if rung < self.last else None
        return None

    def _completed(self, trials: Sequence[Trial], rung: int) -> list[Trial]:
        # A fit that ended early has results at all rungs, and is not at those to which it was not promoted.
        return [each for each in trials if each.target > rung or (each.target == rung and each.is_at(rung))]

    def _best_first(self, completed: Sequence[Trial], rung: int) -> list[Trial]:
        """Return those that do not count as the worst. First come promoted ones whose objective is not known here.

        Members for seeds or folds that are asked for later train to where their trial is, without a pause before.
        """
        unknown = [each for each in completed if each.target > rung and each.objectives(rung) is None]
        return [each for each in unknown if not each.has_failed] + best_first(completed, self.objective, rung)


@dataclass(frozen=True)
class Asha(Schedule):
    """Asynchronous successive halving: of those that complete a rung, the best 1 / `reduction` train on."""

    reduction: int = 3

    @property
    def _share(self) -> float:
        return 1 / self.reduction

    def first_rung(self, number: int) -> int:
        return 0

    def _promoted(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        groups = self._groups(trials)
        # The highest rung first: what is nearly done says most about what is best.
        for rung in range(self.last - 1, -1, -1):
            for group in groups:
                completed = self._completed(group, rung)
                best = self._best_first(completed, rung)[: len(completed) // self.reduction]
                yield from (trial for trial in best if trial.target == rung)

    def _last_resort(self, trials: Sequence[Trial]) -> Trial | None:
        # of each group: one that began at the end has met no other there, and says nothing of those that paused
        if not all(trial.is_at(trial.target) for trial in trials):
            return None
        best = [super(Asha, self)._last_resort(group) for group in self._groups(trials)]
        return next(filter(None, best), None)

    def _groups(self, trials: Sequence[Trial]) -> list[list[Trial]]:
        """Return the trials that compete with each other."""
        return [list(trials)]


@dataclass(frozen=True)
class Hyperband(Asha):
    """Hyperband: brackets of ASHA, the first of which begins at the first rung, the next at the second, and so on.

    Trials whose beginning says little about their end are judged later in the other brackets.
    """

    def first_rung(self, number: int) -> int:
        # Multiples of the golden ratio spread evenly, so that any number of trials has about the right proportions.
        share = number * _GOLDEN_RATIO % 1.0
        return bisect_right(self._shares, share)

    def _groups(self, trials: Sequence[Trial]) -> list[list[Trial]]:
        brackets = range(self.last + 1)
        return [[trial for trial in trials if self.first_rung(trial.number) == bracket] for bracket in brackets]

    @cached_property
    def _shares(self) -> list[float]:
        """The shares of all trials at which the next bracket begins, in the proportions of the paper.

        With a reduction of 3 and 4 rungs, the brackets have 27, 12, 6 and 4 of 49 trials.
        """
        rungs = range(self.last + 1)
        sizes = [math.ceil((self.last + 1) / (count + 1) * self.reduction**count) for count in reversed(rungs)]
        return [sum(sizes[:bracket]) / sum(sizes) for bracket in rungs[1:]]


@dataclass(frozen=True)
class Median(Schedule):
    """Median stopping: at each rung a trial trains on if it is no worse than the median of the others there.

    Where fewer than `min_trials` others have completed the rung, it trains on.
    """

    min_trials: int = 5

    @property
    def _share(self) -> float:
        return 0.5

    def first_rung(self, number: int) -> int:
        return 0

    def _promoted(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        for rung in range(self.last - 1, -1, -1):
            completed = self._completed(trials, rung)
            known = self._best_first(completed, rung)
            losses = {trial.number: self._loss(trial, rung) for trial in known}
            ranked = sorted(losses.get(trial.number, math.inf) for trial in completed)
            for trial in known:
                if trial.target == rung and self._goes_on(losses[trial.number], ranked):
                    yield trial

    def _goes_on(self, loss: float, ranked: list[float]) -> bool:
        others = ranked.copy()
        others.remove(loss)
        return len(others) < self.min_trials or loss <= statistics.median(others)

    def _loss(self, trial: Trial, rung: int) -> float:
        objectives = trial.objectives(rung)
        if objectives is None:
            return -math.inf
        return -objectives[0] if self.objective.is_maximized else objectives[0]
