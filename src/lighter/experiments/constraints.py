"""Constraints of a search space: expressions over the config of a point, of which nothing is called.

They are worked out by the interpreter of `show --resolve`, with the values of the point laid over the config.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lighter.config.expression import absolute_if_any, referred
from lighter.config.problems import Problem, indefinite, shortened
from lighter.config.pure import FAILURES, evaluate
from lighter.config.references import copied_paths, expand
from lighter.config.safe.arithmetic import parse, truth
from lighter.config.safe.mode import RefusedError
from lighter.config.suggestions import suggest
from lighter.config.tree import SEPARATOR, Node, Origin, Source, join, same_key, split
from lighter.errors import ConfigError
from lighter.experiments.parameters import Parameter, placed
from lighter.experiments.parse_parameters import SEARCH
from lighter.experiments.trials import Values

PATH = join(SEARCH, "where")
_EXAMPLE = 'For example: where: "$@model::optimizer::lr * @data::train_dataloader::batch_size < 1"'
_TRIED = 64  # points for which an expression is tried beforehand


@dataclass(frozen=True)
class Constraint:
    """An expression that is true for the points which may be suggested."""

    node: Node

    @cached_property
    def targets(self) -> list[str]:
        return referred(absolute_if_any(PATH, self.node.value))

    def holds(self, root: Node, values: Values) -> bool:
        """Return whether it is true in the tree of a point; raise a `ConfigError` if it cannot be worked out there."""
        # What a point's config does not have, the width of another subtree say, does not restrict it.
        if any(root.find(target) is None for target in self.targets):
            return True
        try:
            return truth(evaluate(root, self.node, PATH))
        except FAILURES as error:
            reason = f"{type(error).__name__}: {error}" if not isinstance(error, RefusedError) else str(error)
            shown = ", ".join(f"{path}={indefinite(value)}" for path, value in values.items())
            hint = shortened(f"It was tried for {shown}.", 300)
            raise ConfigError([Problem(f"this cannot be worked out: {reason}", self.node.origin, PATH, hint)]) from None


class LaidOver:
    """Lay the values of points over a merged tree, which stays as it is; that of the member, without `experiment`."""

    def __init__(self, merged: Node) -> None:
        self.merged = _without_content(merged)
        self.merged.value.pop("experiment", None)
        self._has_copies = bool(copied_paths(self.merged))
        self._origin = Origin(Source("search space"))

    def root(self, values: Values) -> Node:
        """Return the tree with values laid over it, its copies worked out anew."""
        root = _without_content(self.merged)
        nodes = {path: _as_node(value, self._origin) for path, value in values.items()}
        for path, node in nodes.items():
            holder = root
            *above, last = split(path)
            for step in above:
                child = holder.child(step)
                holder = _set(holder, step, _without_content(child or Node({}, self._origin)))
            _set(holder, last, node)
        has_copies = self._has_copies or bool(copied_paths(Node(nodes, self._origin)))
        return expand(root, []) if has_copies else root


def parse_constraints(where: Node | None, problems: list[Problem]) -> list[Constraint]:
    """Return the constraints of the section `where`: an expression, or a list of them."""
    if where is None or where.value is None:
        return []
    items = where.value if isinstance(where.value, list) else [where]
    constraints = []
    for item in items:
        message = _not_an_expression(item)
        if message is None:
            constraints.append(Constraint(item))
        else:
            problems.append(Problem(message, item.origin, PATH, _EXAMPLE))
    return constraints


def check_constraints(
    constraints: Sequence[Constraint], parameters: Sequence[Parameter], merged: Node, problems: list[Problem]
) -> None:
    """Add a problem for each constraint that refers to nothing, or cannot be worked out, at some random points."""
    if not constraints:
        return
    generator = random.Random(0)
    laid_over = LaidOver(merged)
    points = [_random_point(parameters, generator) for _ in range(_TRIED)]
    roots = [laid_over.root(values) for values in points]
    for constraint in constraints:
        for target in constraint.targets:
            if not any(root.find(target) is not None for root in roots):
                message = f"`@{target}` refers to nothing"
                problems.append(Problem(message, constraint.node.origin, PATH, suggest(roots[0], target)))
        try:
            for root, values in zip(roots, points, strict=True):
                constraint.holds(root, values)
        except ConfigError as error:
            problems.extend(error.problems)


def _not_an_expression(node: Node) -> str | None:
    text = node.value
    if not isinstance(text, str) or not text.startswith("$"):
        return f"a constraint is an expression, which begins with `$`; found {indefinite(node.plain())}"
    try:
        parse(absolute_if_any(PATH, text)[1:].strip())
    except RefusedError as error:
        return str(error)
    return (
        None if referred(absolute_if_any(PATH, text)) else "this constraint refers to nothing, so it is always the same"
    )


def _random_point(parameters: Sequence[Parameter], generator: random.Random) -> Values:
    chosen = placed(parameters, lambda parameter: parameter.at(generator.random()))
    return {SEPARATOR.join(map(str, steps)): value for steps, value in chosen}


def _without_content(node: Node) -> Node:
    return Node({} if node.value is None else copy.copy(node.value), node.origin, node.key_origin)


def _set(holder: Node, step: str, node: Node) -> Node:
    if isinstance(holder.value, list):
        holder.value[int(step)] = node
    else:
        holder.value[same_key(holder.value, step)] = node
    return node


def _as_node(value: Any, origin: Origin) -> Node:
    if isinstance(value, dict):
        return Node({key: _as_node(item, origin) for key, item in value.items()}, origin)
    if isinstance(value, (list, tuple)):
        return Node([_as_node(item, origin) for item in value], origin)
    return Node(value, origin)
