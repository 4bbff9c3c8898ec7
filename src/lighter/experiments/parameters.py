"""Parameters of a search space: ranges, choices, and subtrees with parameters of their own inside.

A parameter is decided by a *pick*: the number of a range, or the index of a choice. A function that decides, called for
each parameter that exists, makes a point; only the parameters of the chosen subtree exist. All methods of search draw
points in this way, and `read_picks` leads back from a point's values to its picks.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import product
from statistics import NormalDist
from typing import Any, TypeAlias

from lighter.config.plain_definitions import value_at
from lighter.config.tree import Origin

Steps: TypeAlias = tuple[Any, ...]
"""Keys that lead to a value: of the config, or of the subtree that a parameter is in."""

Pick: TypeAlias = "int | float"
Picks: TypeAlias = Mapping[str, "int | float"]
"""Picks by the names of parameters."""

Lookup: TypeAlias = Callable[[Steps], Any]
"""Returns the value at some steps, or `MISSING`."""

MISSING = object()
_SPREAD = 0.2  # of values near another one, as a share of the range


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, both of them included.

    Attributes:
        name: unique in the space.
        step: the distance of two values; None where any number between the ends is one.
    """

    name: str
    steps: Steps
    low: int | float
    high: int | float
    step: int | float | None
    is_log: bool
    is_integer: bool
    origin: Origin

    @cached_property
    def size(self) -> int | None:
        """The number of values that lie one step apart; None without a step."""
        if self.step is None:
            return None
        # In decimals: three steps of 0.1 reach 0.3.
        return int((_decimal(self.high) - _decimal(self.low)) / _decimal(self.step)) + 1

    def value(self, index: int) -> int | float:
        """Return one of the values that lie a step apart."""
        number = _decimal(self.low) + index * _decimal(self.step or 1)
        return int(number) if self.is_integer else float(number)

    def index(self, value: float) -> int:
        """Return the index of one of the values that lie a step apart."""
        return round((value - self.low) / (self.step or 1))

    def at(self, unit: float) -> int | float:
        """Return the value at a place between 0 and 1, which is uniform on the range's scale."""
        if self.size is not None:
            return self.value(min(int(unit * self.size), self.size - 1))
        low, high = self._ends
        number = low + unit * (high - low)
        number = math.exp(number) if self.is_log else number
        return min(max(round(number) if self.is_integer else number, self.low), self.high)

    def near(self, value: int | float, unit: float) -> int | float:
        """Return a value in the neighbourhood of another one: normally distributed, and reflected at the ends."""
        low, high = self._ends
        number = math.log(value) if self.is_log else value
        place = NormalDist((number - low) / (high - low), _SPREAD).inv_cdf(min(max(unit, 1e-9), 1 - 1e-9))
        return self.at(1 - abs(1 - abs(place) % 2))

    @property
    def _ends(self) -> tuple[float, float]:
        if not self.is_log:
            return self.low, self.high
        # So that each integer has its share, the first and the last too.
        half = 0.5 if self.is_integer else 0.0
        return math.log(self.low - half), math.log(self.high + half)

    def place(self, pick: Pick, decide: Decide) -> Iterator[tuple[Steps, Any]]:
        yield self.steps, pick

    def read(self, lookup: Lookup) -> Picks | None:
        value = lookup(self.steps)
        if type(value) not in (int, float) or (self.is_integer and type(value) is not int):
            return None
        if not self.low <= value <= self.high:
            return None
        is_between = self.size is not None and abs(self.value(self.index(value)) - value) > 1e-8 * (self.step or 1)
        return None if is_between else {self.name: value}

    def count(self) -> int:
        return self.size or 0

    def grid(self) -> Iterator[Picks]:
        yield from ({self.name: self.value(index)} for index in range(self.size or 0))

    def extremes(self) -> Iterator[Picks]:
        """Yield both ends."""
        yield {self.name: self.low}
        yield {self.name: self.value(self.size - 1) if self.size is not None else self.high}


class _Options:
    """The base of choices and subtrees: one of `size` options is picked by its index."""

    name: str

    @property
    def size(self) -> int:
        raise NotImplementedError

    def at(self, unit: float) -> int:
        return min(int(unit * self.size), self.size - 1)

    def near(self, pick: Pick, unit: float) -> Pick:
        """Return the same option in half of all cases, otherwise any."""
        return pick if unit < 0.5 else self.at(2 * unit - 1)


@dataclass(frozen=True)
class Choices(_Options):
    """Values of one path, or rows of values that go together, for several paths."""

    name: str
    paths: tuple[Steps, ...]
    rows: tuple[tuple[Any, ...], ...]
    origin: Origin

    @property
    def size(self) -> int:
        return len(self.rows)

    @cached_property
    def is_ordered(self) -> bool:
        """Return whether they are numbers, rising or falling: neighbours are alike then."""
        values = [row[0] for row in self.rows]
        if len(self.paths) > 1 or len(values) < 3 or any(type(value) not in (int, float) for value in values):
            return False
        return values in (sorted(values), sorted(values, reverse=True))

    def place(self, pick: Pick, decide: Decide) -> Iterator[tuple[Steps, Any]]:
        yield from zip(self.paths, copy.deepcopy(self.rows[int(pick)]), strict=True)

    def read(self, lookup: Lookup) -> Picks | None:
        values = [lookup(steps) for steps in self.paths]
        return next(({self.name: index} for index, row in enumerate(self.rows) if is_same(values, [*row])), None)

    def count(self) -> int:
        return self.size

    def grid(self) -> Iterator[Picks]:
        yield from ({self.name: index} for index in range(self.size))

    def extremes(self) -> Iterator[Picks]:
        """Yield each choice."""
        return self.grid()


@dataclass(frozen=True)
class Option:
    """A subtree by its name: plain data, and the parameters inside, whose values are put into it."""

    name: str
    tree: dict[Any, Any]
    parameters: tuple[Parameter, ...]

    def filled(self, decide: Decide) -> dict[Any, Any]:
        tree = copy.deepcopy(self.tree)
        for steps, value in placed(self.parameters, decide):
            holder: Any = tree
            for step in steps[:-1]:
                holder = holder[step]
            holder[steps[-1]] = value
        return tree

    def read(self, tree: Any) -> Picks | None:
        """Return the picks that make a subtree of this option; None if none do."""
        picks = read_picks(self.parameters, lambda steps: look_up(tree, steps))
        if picks is None or not is_same(self.filled(lambda parameter: picks[parameter.name]), tree):
            return None
        return picks


@dataclass(frozen=True)
class Subtrees(_Options):
    """Subtrees for one path. Parameters inside a subtree exist only where it is chosen."""

    name: str
    steps: Steps
    options: tuple[Option, ...]
    origin: Origin

    @property
    def size(self) -> int:
        return len(self.options)

    def place(self, pick: Pick, decide: Decide) -> Iterator[tuple[Steps, Any]]:
        yield self.steps, self.options[int(pick)].filled(decide)

    def read(self, lookup: Lookup) -> Picks | None:
        tree = lookup(self.steps)
        for index, option in enumerate(self.options):
            picks = option.read(tree)
            if picks is not None:
                return {self.name: index, **picks}
        return None

    def count(self) -> int:
        return sum(count(option.parameters) for option in self.options)

    def grid(self) -> Iterator[Picks]:
        for index, option in enumerate(self.options):
            yield from ({self.name: index, **inner} for inner in grid(option.parameters))

    def extremes(self) -> Iterator[Picks]:
        """Yield each subtree, with each choice and end in it."""
        for index, option in enumerate(self.options):
            yield from ({self.name: index, **inner} for inner in extremes(option.parameters))


Parameter: TypeAlias = "Range | Choices | Subtrees"
Decide: TypeAlias = "Callable[[Range | Choices | Subtrees], int | float]"
"""Returns the pick of a parameter."""


def placed(parameters: Iterable[Parameter], decide: Decide) -> Iterator[tuple[Steps, Any]]:
    """Yield where each value of a point stands, and the value, in the order of the parameters."""
    for parameter in parameters:
        yield from parameter.place(decide(parameter), decide)


def read_picks(parameters: Iterable[Parameter], lookup: Lookup) -> Picks | None:
    """Return the picks that some values stand for; None where a value is none of its parameter's."""
    picks: dict[str, Pick] = {}
    for parameter in parameters:
        picked = parameter.read(lookup)
        if picked is None:
            return None
        picks.update(picked)
    return picks


def flat(parameters: Iterable[Parameter]) -> Iterator[Parameter]:
    """Yield all parameters, those inside subtrees too."""
    for parameter in parameters:
        yield parameter
        for option in parameter.options if isinstance(parameter, Subtrees) else ():
            yield from flat(option.parameters)


def count(parameters: Iterable[Parameter]) -> int:
    """Return the number of points of a grid."""
    return math.prod(parameter.count() for parameter in parameters)


def grid(parameters: Sequence[Parameter]) -> Iterator[Picks]:
    """Yield the picks of all points of a grid; those of the last parameter change first."""
    for combination in product(*(parameter.grid() for parameter in parameters)):
        yield {name: pick for picks in combination for name, pick in picks.items()}


def extremes(parameters: Sequence[Parameter]) -> list[Picks]:
    """Return a few points in which each choice, each subtree and both ends of each range occur."""
    each = [[*parameter.extremes()] for parameter in parameters]
    most = max(map(len, each), default=1)
    rows = ([picks[number % len(picks)] for picks in each] for number in range(most))
    return [{name: pick for picks in row for name, pick in picks.items()} for row in rows]


def look_up(tree: Any, steps: Steps) -> Any:
    """Return what stands some steps below in plain data, or `MISSING`."""
    try:
        return value_at(tree, [str(step) for step in steps])
    except LookupError:
        return MISSING


def is_same(one: Any, other: Any) -> bool:
    """Return whether two plain values are equal. Keys compare by their text, as JSON has no others; true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        renamed = {str(key): value for key, value in other.items()}
        return {str(key) for key in one} == renamed.keys() and all(
            is_same(value, renamed[str(key)]) for key, value in one.items()
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other) or (one != one and other != other)


def _decimal(number: int | float) -> Decimal:
    return Decimal(repr(number))
