"""The search space: from the section `experiment::search` to points, which are values of config paths.

    search:
      space:
        model::optimizer::lr: {from: 1e-5, to: 1e-1, scale: log}   # numbers; `scale: linear` is the default
        model::dropout: {from: 0.0, to: 0.5, step: 0.1}            # numbers that lie a step apart
        model::layers: {from: 2, to: 8}                            # integers, since both ends are
        data::train_dataloader::batch_size: [16, 32, 64]           # choices
        model::network:                                            # subtrees by name, with parameters inside
          choose:
            small: {_target_: my.Net, width: {from: 8, to: 64}, activation: {choose: [relu, gelu]}}
            large: {_target_: my.Net, width: 512, blocks: [2, 2]}
      zip:                                                         # values that go together: rows, one per position
        model::width: [64, 128, 256]
        model::depth: [2, 4, 8]
      where: "$@model::width * @model::depth < 1000"               # an expression, or a list: all of them hold

A list within a subtree is a value, as in any config: choices are written `{choose: [...]}` there. `zip` may be a list
of such dicts, each with rows of its own. The values of a point are laid over the config before `where` is worked out;
an expression that refers to a place which the config of a point does not have does not restrict that point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lighter.config import Config
from lighter.config.problems import Problem
from lighter.config.pure import FAILURES, evaluate
from lighter.config.tree import SEPARATOR, Node, is_reference
from lighter.experiments.constraints import Constraint, LaidOver, check_constraints, parse_constraints
from lighter.experiments.parameters import (
    MISSING,
    Decide,
    Parameter,
    Pick,
    Picks,
    Range,
    Steps,
    count,
    extremes,
    flat,
    grid,
    placed,
    read_picks,
)
from lighter.experiments.parse_parameters import SEARCH, parse_parameters, parse_zip
from lighter.experiments.space_paths import check_paths
from lighter.experiments.trials import Values

_COUNTABLE = 10_000  # points, for which constraints are worked out in less than a second


@dataclass(frozen=True)
class Space:
    """The parameters of an experiment, and the constraints that its points satisfy."""

    config: Config
    parameters: tuple[Parameter, ...]
    constraints: tuple[Constraint, ...] = ()

    @cached_property
    def dimensions(self) -> tuple[Parameter, ...]:
        """All parameters, those inside subtrees too, in an order that never changes."""
        return tuple(flat(self.parameters))

    def point(self, decide: Decide) -> Values:
        """Return the values of a point; `decide` picks for each parameter that exists in it."""
        return {_path(steps): value for steps, value in placed(self.parameters, decide)}

    def at(self, picks: Picks) -> Values:
        """Return the values of the point that picks make."""
        return self.point(lambda parameter: picks[parameter.name])

    def picks(self, values: Mapping[str, Any]) -> Picks | None:
        """Return the picks that values stand for; None if they lie outside the space."""
        return read_picks(self.parameters, lambda steps: values.get(_path(steps), MISSING))

    def extremes(self) -> list[Values]:
        """Return a few points in which each choice, each subtree and both ends of each range occur, for checks."""
        return [self.at(picks) for picks in extremes(self.parameters)]

    @cached_property
    def is_countable(self) -> bool:
        """Return whether it has so few points that those which are left can be listed for each trial."""
        ranges = (parameter for parameter in self.dimensions if isinstance(parameter, Range))
        return all(each.size is not None for each in ranges) and count(self.parameters) <= _COUNTABLE

    def grid(self) -> Iterator[Values]:
        """Yield all points, those that the constraints exclude too. The values of the last parameter change first."""
        yield from map(self.at, grid(self.parameters))

    def allows(self, values: Values) -> bool:
        """Return whether values satisfy all constraints."""
        if not self.constraints:
            return True
        root = self._laid_over.root(values)
        return all(constraint.holds(root, values) for constraint in self.constraints)

    @cached_property
    def own(self) -> Picks:
        """The picks of the config's own values, of those parameters whose values lie in the space."""
        picks: dict[str, Pick] = {}
        for parameter in self.parameters:
            known = (read_picks([parameter], lookup) for lookup in (self._written, self._expanded, self._worked_out))
            picks.update(next((each for each in known if each is not None), {}))
        return picks

    @cached_property
    def _laid_over(self) -> LaidOver:
        return LaidOver(self.config.merged)

    def _written(self, steps: Steps) -> Any:
        node = self.config.merged.find(_path(steps))
        return MISSING if node is None else node.plain()

    def _expanded(self, steps: Steps) -> Any:
        node = self.config.expanded.find(_path(steps))
        return MISSING if node is None else node.plain()

    def _worked_out(self, steps: Steps) -> Any:
        node = self.config.expanded.find(_path(steps))
        if node is not None and is_reference(node.value):
            with suppress(*FAILURES):
                return evaluate(self.config.expanded, node, _path(steps))
        return MISSING


def parse_space(search: Node, config: Config, problems: list[Problem]) -> Space:
    """Return the space of the section `experiment::search`: its `space`, `zip` and `where`; add all its problems."""
    found: list[Problem] = []
    # As it was written: in each point, copies are those of what the point's values have changed.
    search = config.merged.find(SEARCH) or search
    space, rows = search.child("space"), search.child("zip")
    parameters: list[Parameter] = []
    if space is not None:
        parameters += parse_parameters(space, found)
    if rows is not None:
        parameters += parse_zip(rows, found)
    if not parameters and not found:
        message = "the search space is empty"
        hint = "For example:\nspace:\n  model::optimizer::lr: {from: 1e-5, to: 1e-1, scale: log}"
        found.append(Problem(message, (space or search).place, SEARCH, hint))
    check_paths(parameters, config.merged, found)
    constraints = parse_constraints(search.child("where"), found)
    if not found:
        check_constraints(constraints, parameters, config.merged, found)
    for problem in found:
        problems.append(problem)
    return Space(config, tuple(parameters), tuple(constraints))


def _path(steps: Sequence[Any]) -> str:
    return SEPARATOR.join(map(str, steps))
