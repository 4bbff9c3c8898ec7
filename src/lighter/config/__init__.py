"""Text to a checked config. No torch here; only this package knows sparkwheel.

load     files, dicts and overrides -> one merged tree
check    the tree, or all its problems
prune    a definition without what a stage does not need
objects  the checked tree -> objects, made when they are asked for
faults   an error while one is made -> the config's mistake with its place, or the user's exception with a note
dump     the tree -> YAML that runs the same again
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lighter.config import yaml
from lighter.config.check import check_expanded, check_sections
from lighter.config.load import Input, load
from lighter.config.problems import Problems, in_order
from lighter.config.references import expand
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

    def objects(self) -> Objects:
        """The objects that this config defines, none of them made yet."""
        from lighter.config.objects import Objects

        return Objects(self.expanded)

    def dump(self) -> str:
        """The merged config as YAML."""
        return yaml.dump(self.merged.plain())


def read(inputs: Sequence[Input]) -> Config:
    """Load, merge and check.

    Raises:
        ConfigError: with all problems that were found.
    """
    merged = load(inputs)
    merged.value.setdefault("seed", Node(0, Origin(Source("default"))))
    problems = Problems()
    check_sections(merged, problems)
    expanded = expand(merged, problems)
    check_expanded(expanded, problems)
    if problems:
        raise ConfigError(in_order(problems))
    return Config(merged, expanded)
