"""Text to a checked config. No torch here; only this package knows sparkwheel.

load     files, dicts and overrides -> one merged tree
check    the tree, or all its problems
prune    a definition without what a stage does not need
objects  the checked tree -> objects, made when they are asked for
safe     what a stranger's config may do: the allow-list, and an interpreter in place of `eval`
faults   an error while one is made -> the config's mistake with its place, or the user's exception with a note
dump     the tree -> YAML that runs the same again
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from lighter.config import yaml
from lighter.config.check import check_expanded, check_sections
from lighter.config.load import Input, is_override, is_url, load
from lighter.config.problems import Problems, in_order
from lighter.config.references import expand
from lighter.config.safe import SafeMode
from lighter.config.safe.paths import RUNS
from lighter.config.safe.refusals import refuse
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
        safe: what it may do, if it is a stranger's.
    """

    merged: Node
    expanded: Node
    safe: SafeMode | None = None

    @property
    def module_section(self) -> str:
        """`model` (with `data` beside it) or `system` (which has its own dataloaders)."""
        return "system" if self.merged.child("system") is not None else "model"

    def objects(self) -> Objects:
        """The objects that this config defines, none of them made yet."""
        from lighter.config.objects import Objects

        return Objects(self.expanded, self.safe)

    def dump(self) -> str:
        """The merged config as YAML."""
        return yaml.dump(self.merged.plain())


def read(inputs: Sequence[Input], safe: SafeMode | None = None) -> Config:
    """Load, merge and check.

    Args:
        safe: what the config may do; None if it may do anything. One that comes from a URL never may.

    Raises:
        ConfigError: with all problems that were found.
    """
    if safe is None and any(map(is_url, inputs)):
        safe = SafeMode()
    if safe is not None:
        safe = safe.within(_folders(inputs))
    merged = load(inputs, safe)
    merged.value.setdefault("seed", Node(0, Origin(Source("default"))))
    problems = Problems()
    check_sections(merged, problems)
    expanded = expand(merged, problems)
    check_expanded(expanded, problems)
    if safe is not None:
        safe = safe.within([], runs=[_runs(expanded)])
        refuse(expanded, safe, problems)
    if problems:
        raise ConfigError(in_order(problems))
    return Config(merged, expanded, safe)


def _runs(root: Node) -> Path:
    """Where runs go: where the user says so on the command line, or else where they always go."""
    node = root.find("run::dir")
    typed = node is not None and node.origin.source.name == "command line" and isinstance(node.value, str)
    return Path(node.value if node is not None and typed else RUNS).expanduser()


def _folders(inputs: Sequence[Input]) -> list[Path]:
    """The folders of the config files that the user gave."""
    files = [item for item in inputs if isinstance(item, (str, PathLike)) and not is_url(item)]
    return [Path(item).resolve().parent for item in files if not is_override(str(item))]
