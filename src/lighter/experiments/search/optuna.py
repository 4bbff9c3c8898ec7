"""Optuna's samplers, by ask and tell in memory: a study is made from the history for each suggestion.

A trial at a rung is told as pruned there, with its objective, and one whose members have all ended as complete; both
teach a sampler, and one without any result is told as running. With several objectives, for which Optuna knows no
pruning, whatever was reached is told as complete.

Constraints are known before a point is tried, and they always hold, so a point that violates them is drawn again;
Optuna's own constraints are learned from trials that broke them, and only make such points less likely. So is a point
that was suggested before, since its fit would have the same bits. What was drawn in vain stays in the study as running,
so that samplers which avoid the neighbourhood of running trials leave it.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseGASampler, BaseSampler, CmaEsSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from lighter.experiments.parameters import Choices, Parameter, Pick, Range
from lighter.experiments.search.base import Search
from lighter.experiments.space import Space
from lighter.experiments.trials import FINISHED, Objective, Trial, Values

MakeSampler = Callable[[int], BaseSampler]
"""Makes a new sampler with a seed."""

_MOST_DRAWS = 50
_STARTUP = 10  # of TPE: trials that are drawn at random before it has a model
_FROM_TRIALS_OF_THEIR_OWN = (BaseGASampler, CmaEsSampler)


class OptunaSearch(Search):
    """Ask a sampler of Optuna's, which is made anew for each suggestion, for the next trial."""

    def __init__(self, space: Space, seed: int, objectives: Sequence[Objective], make_sampler: MakeSampler) -> None:
        super().__init__(space, seed)
        self.objectives, self.make_sampler = objectives, make_sampler
        self.parameters = {parameter.name: parameter for parameter in space.dimensions}

    def next(self, number: int, history: Sequence[Trial]) -> Values | None:
        before = [trial.values for trial in history]
        with quiet():
            study = self.study(history)
            study.sampler = self.sampler(number)
            for _ in range(_MOST_DRAWS):
                values = self._asked(study.ask())
                if values not in before and self.space.allows(values):
                    return values
        # The sampler keeps to a region that the constraints exclude, or to points that were there before.
        return self.random_point(number, history)

    def sampler(self, number: int) -> BaseSampler:
        """Return a sampler with the random numbers of one trial."""
        return self.make_sampler(self.generator(number).getrandbits(32))

    def study(self, history: Sequence[Trial]) -> optuna.Study:
        maximize, minimize = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
        directions = [maximize if objective.is_maximized else minimize for objective in self.objectives]
        study = optuna.create_study(directions=directions, sampler=self.sampler(0))
        for trial in sorted(history, key=lambda trial: trial.number):
            told = self._told(trial)
            if told is not None and isinstance(study.sampler, _FROM_TRIALS_OF_THEIR_OWN):
                study.sampler = self.sampler(trial.number)
                _replay(study, told)
            elif told is not None:
                study.add_trial(told)
        return study

    def _asked(self, asked: optuna.Trial) -> Values:
        def decide(parameter: Parameter) -> Pick:
            return _pick(parameter, _suggest(asked, parameter.name, _distribution(parameter)))

        return self.space.point(decide)

    def _told(self, trial: Trial) -> FrozenTrial | None:
        """Return a trial as Optuna has it; None if its values are none of the space, which has changed since."""
        picks = self.space.picks(trial.values)
        if picks is None:
            return None
        known = {name: self.parameters[name] for name in picks}
        state, values, rungs = self._outcome(trial)
        return create_trial(
            state=state,
            values=values,
            params={name: _told_pick(parameter, picks[name]) for name, parameter in known.items()},
            distributions={name: _distribution(parameter) for name, parameter in known.items()},
            intermediate_values=rungs,
        )

    def _outcome(self, trial: Trial) -> tuple[TrialState, list[float] | None, dict[int, float]]:
        reached = trial.reached
        if trial.has_failed:
            return TrialState.FAIL, None, {}
        if reached is None:
            return TrialState.RUNNING, None, {}
        rungs = {rung: values for rung in range(reached + 1) if (values := trial.objectives(rung)) is not None}
        last = [*rungs[reached]]
        is_known = not any(map(math.isnan, last))
        if len(self.objectives) > 1:
            return (TrialState.COMPLETE, last, {}) if is_known else (TrialState.FAIL, None, {})
        intermediate = {rung: values[0] for rung, values in rungs.items()}
        if is_known and all(member.status == FINISHED for member in trial.members):
            return TrialState.COMPLETE, last, intermediate
        # Pruned at NaN is the worst that a sampler can be told: a failed trial would teach it nothing.
        return TrialState.PRUNED, None, intermediate


class TPESearch(OptunaSearch):
    """Suggest by Optuna's TPE, which begins with points around the config's own values.

    Parameters are modelled together, those of each subtree as a group, since a learning rate and a batch size that fit
    do so together. Running trials count as bad ones (the constant liar), so that parallel workers do not all try the
    same point. TPE itself takes no prior; every second trial of its random ones is drawn near the config's own values.
    """

    def __init__(self, space: Space, seed: int, objectives: Sequence[Objective]) -> None:
        is_grouped = len(objectives) == 1 and len(space.dimensions) > len(space.parameters)

        def make(seed: int) -> BaseSampler:
            together = True if is_grouped else None  # None: where there is one objective
            return TPESampler(
                seed=seed, n_startup_trials=_STARTUP, multivariate=together, group=is_grouped, constant_liar=True
            )

        super().__init__(space, seed, objectives, make)

    def next(self, number: int, history: Sequence[Trial]) -> Values | None:
        if number < _STARTUP and number % 2 and self.space.own:
            return self._near_own(number, history)
        return super().next(number, history)

    def _near_own(self, number: int, history: Sequence[Trial]) -> Values | None:
        own, generator = self.space.own, self.generator(number)

        def near(parameter: Parameter) -> Pick:
            unit = generator.random()
            return parameter.near(own[parameter.name], unit) if parameter.name in own else parameter.at(unit)

        return self.first_new(lambda: self.space.point(near), number, history)


def _replay(study: optuna.Study, told: FrozenTrial) -> None:
    """Ask for a trial again, and tell how it went: these samplers note a trial's generation when they are asked."""
    study.enqueue_trial(told.params)
    asked = study.ask()
    asked.relative_params  # noqa: B018  the sampler suggests, and notes; the values are those that the trial had
    for name, distribution in told.distributions.items():
        _suggest(asked, name, distribution)
    for rung, value in told.intermediate_values.items():
        asked.report(value, rung)
    if told.state == TrialState.COMPLETE:
        study.tell(asked, told.values)
    elif told.state.is_finished():
        study.tell(asked, state=told.state)


def _distribution(parameter: Parameter) -> BaseDistribution:
    """Return what a parameter is to Optuna: a number, or an index where values lie a step apart or are ordered."""
    if isinstance(parameter, Range) and parameter.size is None:
        if parameter.is_integer:
            return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.is_log)
        return FloatDistribution(parameter.low, parameter.high, log=parameter.is_log)
    size = parameter.size or 0
    if isinstance(parameter, Range) or (isinstance(parameter, Choices) and parameter.is_ordered):
        return IntDistribution(0, size - 1)
    return CategoricalDistribution(range(size))


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> int | float:
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
    if isinstance(distribution, CategoricalDistribution):
        return int(trial.suggest_categorical(name, distribution.choices))  # type: ignore[arg-type]
    raise TypeError(distribution)


def _pick(parameter: Parameter, suggested: int | float) -> Pick:
    if not isinstance(parameter, Range):
        return int(suggested)
    if parameter.size is not None:
        return parameter.value(int(suggested))
    return int(suggested) if parameter.is_integer else float(suggested)


def _told_pick(parameter: Parameter, pick: Pick) -> int | float:
    return parameter.index(pick) if isinstance(parameter, Range) and parameter.size is not None else pick


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's log, and what it says of features that may change, from the terminal; errors still come."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        logger.setLevel(level)
