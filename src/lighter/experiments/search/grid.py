"""Grid search: all combinations of the values, in the order in which they are written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from lighter.config.problems import Problem
from lighter.config.tree import join
from lighter.experiments.parameters import Range, count
from lighter.experiments.parse_parameters import SEARCH
from lighter.experiments.search.base import Search
from lighter.experiments.space import Space
from lighter.experiments.trials import Trial, Values

MAX_POINTS = 100_000


class GridSearch(Search):
    """Suggest each point of the grid once: the config's own values first, if they are one, then all others in order."""

    def suggest(self, number: int, history: Sequence[Trial]) -> Values | None:
        return self._points[number] if number < len(self._points) else None

    def next(self, number: int, history: Sequence[Trial]) -> Values | None:
        return self.suggest(number, history)

    def size(self) -> int:
        return len(self._points)

    @cached_property
    def _points(self) -> list[Values]:
        points = [values for values in self.space.grid() if self.space.allows(values)]
        own = self.space.own
        if all(parameter.name in own for parameter in self.space.parameters):
            first = self.space.at(own)
            points.sort(key=lambda values: values != first)  # stable: the others stay in their order
        return points


def check_grid(space: Space, problems: list[Problem]) -> None:
    """Add a problem for each range that has no steps, and for a grid that is too large."""
    ranges = [parameter for parameter in space.dimensions if isinstance(parameter, Range) and parameter.size is None]
    for parameter in ranges:
        hint = "Give it a `step`, or list its values: [0.1, 0.2]"
        hint = "On a log scale list its values: [0.001, 0.01, 0.1]" if parameter.is_log else hint
        place = join(join(SEARCH, "space"), parameter.name)
        problems.append(Problem("a grid needs the steps of a range", parameter.origin, place, hint))
    size = count(space.parameters)
    if size > MAX_POINTS:
        hint = "Leave out values, or use method: random with a number of trials."
        problems.append(Problem(f"this grid has {size:,} points", space.parameters[0].origin, SEARCH, hint))
