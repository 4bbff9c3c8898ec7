"""Simulate an experiment on synthetic learning curves: workers take trials from rung to rung without training."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from lighter.experiments.schedule import Schedule
from lighter.experiments.trials import FAILED, FINISHED, PAUSED, RUNNING, Member, Trial

Curve = Callable[[int, float], float | None]
"""The objective of a trial after so many epochs; None if its fit fails before."""


@dataclass
class Simulation:
    """One experiment; `shuffle` has the trials given to the schedule in another order at each decision."""

    schedule: Schedule
    curve: Curve
    count: int
    limit: float
    workers: int = 1
    seed: int = 0
    seeds: int = 1
    shuffle: bool = False
    trials: list[Trial] = field(default_factory=list)
    epochs: float = 0.0
    decisions: list[tuple[int, int]] = field(default_factory=list)

    def run(self) -> Simulation:
        random_numbers = random.Random(self.seed)
        running: list[Trial] = []
        while True:
            while len(running) < self.workers and (trial := self._next(random_numbers)) is not None:
                running.append(trial)
            if not running:
                return self
            self._train(running.pop(random_numbers.randrange(len(running))))

    @property
    def at_rungs(self) -> list[int]:
        """How many trials were started or promoted up to each rung, or further."""
        counts = Counter(trial.target for trial in self.trials)
        return [sum(counts[further] for further in range(rung, self.schedule.last + 1)) for rung in range(self.rungs)]

    @property
    def rungs(self) -> int:
        return self.schedule.last + 1

    def numbers(self, rung: int) -> set[int]:
        return {trial.number for trial in self.trials if trial.target >= rung}

    def _next(self, random_numbers: random.Random) -> Trial | None:
        given = random_numbers.sample(self.trials, len(self.trials)) if self.shuffle else self.trials
        promotion = self.schedule.promotion(given, self.count)
        if promotion is not None:
            number, target = promotion
            trial = self.trials[number]
            assert all(member.status in (PAUSED, FINISHED) for member in trial.members), "it runs, or has failed"
            assert target == trial.target + 1, "promoted twice, or over a rung"
            self.decisions.append(promotion)
        elif len(self.trials) < self.count:
            number, target = len(self.trials), self.schedule.first_rung(len(self.trials))
            trial = Trial(number, {}, [Member(number, seed, None, {}, target=-1) for seed in range(self.seeds)])
            self.trials.append(trial)
        else:
            return None
        self.epochs += self.seeds * (self._epochs(target) - self._epochs(trial.target))
        for member in trial.members:
            member.target, member.status = target, RUNNING
        return trial

    def _train(self, trial: Trial) -> None:
        value = self.curve(trial.number, self._epochs(trial.target))
        for member in trial.members:
            if value is None:
                member.status = FAILED
            else:
                member.results[trial.target] = (value + 0.001 * member.seed,)
                member.status = FINISHED if trial.target == self.schedule.last else PAUSED

    def _epochs(self, target: int) -> float:
        pause = self.schedule.pause(target) if target >= 0 else (None, 0.0)
        return self.limit if pause is None else pause[1]
