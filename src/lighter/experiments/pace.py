"""The time that an experiment still takes, from how fast its members have trained so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from lighter.experiments.facts import Facts
from lighter.experiments.trials import FAILED, FINISHED, Member, Trial


class Pace:
    """Measure how fast members train, by the counter of the schedule; without rungs, by whole fits."""

    def __init__(self, facts: Facts, clock: Callable[[], float] = time.monotonic) -> None:
        self._facts, self._clock = facts, clock
        self._started: dict[str, tuple[float, float]] = {}  # of members that run: when, and how far they were
        self._length = self._seconds = 0.0

    def running(self, members: Iterable[Member]) -> None:
        """Note which members run now."""
        for member in members:
            self._started.setdefault(member.name, (self._clock(), self._reached(member)))

    def ended(self, member: Member) -> None:
        """Note that a member has come to a result; one that failed says nothing about the pace."""
        start = self._started.pop(member.name, None)
        if start is not None and member.status != FAILED:
            started, reached = start
            self._length += max(self._target(member) - reached, 0.0)
            self._seconds += self._clock() - started

    def seconds_of(self, name: str) -> float | None:
        """Return for how long a member has run."""
        return self._clock() - self._started[name][0] if name in self._started else None

    def seconds_left(self, trials: Sequence[Trial], running: Mapping[str, object], workers: int | None) -> float | None:
        """Return about how long all that was asked for still takes; None if that cannot be told yet."""
        if not self._length or self._facts.trials is None:
            return None
        per_unit = self._seconds / self._length
        under_way = sum(self._clock() - self._started[name][0] for name in running if name in self._started)
        left = self._all_length(trials) - sum(self._reached(each) for trial in trials for each in trial.members)
        return max(left * per_unit - under_way, 0.0) / max(workers or len(running), 1)

    def _all_length(self, trials: Sequence[Trial]) -> float:
        schedule = self._facts.schedule
        members = len(self._facts.seeds) * len(self._facts.folds)
        expected = schedule.expected(max(self._facts.trials or 0, len(trials)))
        # what was promoted beyond the expectation trains too
        promoted = [sum(trial.target >= rung for trial in trials) for rung in range(len(expected))]
        lengths = [schedule.length(rung) - schedule.length(rung - 1) for rung in range(len(expected))]
        return members * sum(max(pair) * length for *pair, length in zip(expected, promoted, lengths, strict=True))

    def _reached(self, member: Member) -> float:
        """Return how far a member is; a failed or finished one has nothing left up to its target."""
        if member.status in (FAILED, FINISHED):
            return self._target(member)
        return self._facts.schedule.length(min(max(member.results, default=-1), member.target))

    def _target(self, member: Member) -> float:
        return self._facts.schedule.length(member.target)
