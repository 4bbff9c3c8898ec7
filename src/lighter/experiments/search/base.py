"""The interface of searches, and what all have in common: the first trial, and draws until the constraints hold."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property

from lighter.config.problems import Problem
from lighter.errors import ConfigError
from lighter.experiments.constraints import PATH
from lighter.experiments.space import Space
from lighter.experiments.trials import Trial, Values

MAX_DRAWS = 1000
_MOST_WITH_OWN = 20
_MOST_KNOWN = 100  # of points in succession that were suggested before


class Search(ABC):
    """A method that suggests the values of the next trial.

    A suggestion depends on the number, the history, the space and the seed alone: any process suggests the same, so
    that an experiment that was killed goes on with the same trials.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed

    def suggest(self, number: int, history: Sequence[Trial]) -> Values | None:
        """Return the values of a trial, given the trials before it; None if there is nothing left to suggest.

        The first trial has the config's own values. Those that do not lie in the space, or that the config does not
        have, are drawn at random; if the constraints never hold with the others, the trial is like any other.
        """
        return self.first if number == 0 and self.first is not None else self.next(number, history)

    @abstractmethod
    def next(self, number: int, history: Sequence[Trial]) -> Values | None:
        """Return what the method suggests for a trial that does not have the config's own values."""

    def size(self) -> int | None:
        """Return how many trials there are to suggest; None if there is no end to them."""
        return None

    @cached_property
    def first(self) -> Values | None:
        """The config's own values, as far as they lie in the space; None if there are none, or are not allowed."""
        own = self.space.own
        if not own:
            return None
        draw = self.generator(0)
        is_whole = all(parameter.name in own for parameter in self.space.parameters)
        for _ in range(1 if is_whole else _MOST_WITH_OWN):
            values = self.space.point(
                lambda parameter: own[parameter.name] if parameter.name in own else parameter.at(draw.random())
            )
            if self.space.allows(values):
                return values
        return None

    def generator(self, number: int) -> random.Random:
        """Return a generator of the random numbers of one trial; those of a text are the same in every Python."""
        return random.Random(f"{self.seed}/{number}")

    def random_point(self, number: int, history: Sequence[Trial]) -> Values | None:
        """Return random values that satisfy the constraints and were not suggested before."""
        generator = self.generator(number)

        def draw() -> Values:
            # All numbers are drawn, also those of subtrees that are not chosen: a trial has the same ones in each.
            units = {parameter.name: generator.random() for parameter in self.space.dimensions}
            return self.space.point(lambda parameter: parameter.at(units[parameter.name]))

        return self.first_new(draw, number, history)

    def first_new(self, draw: Callable[[], Values], number: int, history: Sequence[Trial]) -> Values | None:
        """Draw until the constraints hold and the point is new: a fit of the same values would have the same bits.

        Return None where no new point is left, and a point that was there before where there are too many to tell.

        Raises:
            ConfigError: the constraints never hold.
        """
        before = [trial.values for trial in history]
        known: list[Values] = []
        for _ in range(MAX_DRAWS):
            values = draw()
            if self.space.allows(values):
                if values not in before:
                    return values
                known.append(values)
                if len(known) == _MOST_KNOWN:
                    break
        left = self._left(number, before) if self.space.is_countable else None
        if left is not None or (self.space.is_countable and before):
            return left
        if not known:
            raise self._nothing_allowed()
        return known[0]

    def _left(self, number: int, before: Sequence[Values]) -> Values | None:
        """Return one of the points that were not suggested before; None if there is none."""
        left = [values for values in self.space.grid() if values not in before and self.space.allows(values)]
        return left[int(self.generator(number).random() * len(left))] if left else None

    def _nothing_allowed(self) -> ConfigError:
        message = f"no point was found that satisfies this, in {MAX_DRAWS} draws"
        hint = "Narrow the ranges instead; values that go together are written in `zip`."
        return ConfigError([Problem(message, each.node.origin, PATH, hint) for each in self.space.constraints])


class RandomSearch(Search):
    """Draw each trial independently, uniformly on the scales of the ranges."""

    def next(self, number: int, history: Sequence[Trial]) -> Values | None:
        return self.random_point(number, history)
