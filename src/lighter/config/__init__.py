"""Text to a checked config. No torch here; only this package knows sparkwheel.

load     files, dicts and overrides -> one merged tree
check    the tree, or all its problems; and, once its targets are imported, what they cannot be called with
prune    a definition without what a stage does not need
objects  the checked tree -> objects, made when they are asked for
faults   an error while one is made -> the config's mistake with its place, or the user's exception with a note
dump     the tree -> YAML that runs the same again
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lighter.config.check import check_shape
from lighter.config.dump import dump
from lighter.config.load import Input, load, load_what_can_be
from lighter.config.problems import Problem, Problems, in_order
from lighter.config.tree import Node, Origin, Source
from lighter.errors import ConfigError

if TYPE_CHECKING:
    from lighter.config.objects import Objects


@dataclass(frozen=True)
class Config:
    """A config without problems that can be found by reading it.

    Attributes:
        merged: what the inputs say together, as the user wrote it.
        expanded: the same with each `%` copy worked out.
    """

    merged: Node
    expanded: Node

    @property
    def module_section(self) -> str:
        """`model` (with `data` beside it) or `system` (which has its own dataloaders)."""
        return "system" if self.merged.child("system") is not None else "model"

    @property
    def seed(self) -> int:
        """What every run begins with; an integer, if the config has no problem."""
        seed: int = self.merged.value["seed"].value
        return seed

    def objects(self) -> Objects:
        """The objects that this config defines, none of them made yet."""
        from lighter.config.objects import Objects

        return Objects(self.expanded)

    def dump(self) -> str:
        """The merged config as YAML."""
        return dump(self.merged)


def read(inputs: Sequence[Input]) -> Config:
    """Load, merge and check.

    Raises:
        ConfigError: with all problems that were found.
    """
    config, problems = examine(inputs)
    if config is None or problems:
        raise ConfigError(in_order(problems))
    return config


def examine(inputs: Sequence[Input]) -> tuple[Config | None, list[Problem]]:
    """Load, merge and check, and go on where there are problems; no config where no more can be said of it."""
    problems = Problems()
    try:
        merged = load_what_can_be(inputs, problems)
        if merged is None:
            return None, problems
        return Config(_with_seed(merged), check_shape(merged, problems)), problems
    except ConfigError as error:  # there are too many
        return None, list(error.problems)


def load_merged(inputs: Sequence[Input]) -> Node:
    """The merged tree, unchecked but for what stands in the way of merging.

    Raises:
        ConfigError: with all that does.
    """
    return _with_seed(load(inputs))


def _with_seed(merged: Node) -> Node:
    merged.value.setdefault("seed", Node(0, Origin(Source("default"))))
    return merged
