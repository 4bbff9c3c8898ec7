"""Read a config: load, merge and check it. No torch here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from lighter.config.check import check_shape
from lighter.config.dump import dump
from lighter.config.load import Input, is_override, is_url, load, load_what_can_be
from lighter.config.problems import Problem, Problems, in_order
from lighter.config.safe import SafeMode
from lighter.config.safe.refusals import refuse
from lighter.config.tree import COMMAND_LINE, Node, Origin, Source
from lighter.errors import ConfigError
from lighter.files.run_folder import OUTPUTS

if TYPE_CHECKING:
    from lighter.config.objects import Objects
    from lighter.config.plain_definitions import PlainDefinitions


@dataclass(frozen=True)
class Config:
    """A config without problems that can be found by reading it.

    `merged` is what the inputs say together, as the user wrote it; `expanded` the same with each `%` copy worked out.
    """

    merged: Node
    expanded: Node
    safe: SafeMode | None = None

    @property
    def module_section(self) -> str:
        """`model`, or `system`, which has its own dataloaders: `data` beside it has at most a `split`."""
        return "system" if self.merged.child("system") is not None else "model"

    @property
    def seed(self) -> int:
        seed: int = self.merged.value["seed"].value
        return seed

    def objects(self) -> Objects:
        from lighter.config.objects import Objects

        return Objects(self.expanded, self.safe)

    def definitions(self) -> PlainDefinitions:
        """Return the definitions as plain data; the user's code need not be importable."""
        from lighter.config.plain_definitions import PlainDefinitions

        return PlainDefinitions(self.expanded)

    def dump(self) -> str:
        return dump(self.merged)


def read(inputs: Sequence[Input], safe: SafeMode | None = None) -> Config:
    """Load, merge and check; the config may do only what `safe` permits. Raise a `ConfigError` with all problems."""
    config, problems = examine(inputs, safe)
    if config is None or problems:
        raise ConfigError(in_order(problems))
    return config


def examine(inputs: Sequence[Input], safe: SafeMode | None = None) -> tuple[Config | None, list[Problem]]:
    """Load, merge and check, past problems; return no config where no more can be said of it."""
    problems = Problems()
    try:
        safe = _safe_for(inputs, safe)
        empty: list[Source] = []
        merged = load_what_can_be(inputs, problems, safe, empty)
        if merged is None:
            return None, problems
        # Beside others an empty file may be meant so; without a model, it is likely to be the mistake.
        if merged.child("model") is None and merged.child("system") is None:
            problems += [Problem("this file is empty", Origin(replace(source, text=""))) for source in empty]
        expanded = check_shape(_with_seed(merged), problems)
        if safe is not None:
            safe = safe.within([], runs=[_runs(expanded)])
            refuse(expanded, safe, problems)
        return Config(merged, expanded, safe), problems
    except ConfigError as error:  # there are too many, or one that nothing can be said after
        return None, [*problems, *(problem for problem in error.problems if problem not in problems)]


def load_merged(inputs: Sequence[Input]) -> Node:
    """Return the merged tree, unchecked; raise a `ConfigError` with all that stands in the way of merging."""
    return _with_seed(load(inputs, _safe_for(inputs, None)))


def _safe_for(inputs: Sequence[Input], safe: SafeMode | None) -> SafeMode | None:
    # What comes over the network is never trusted, whatever the caller forgot to say.
    if safe is None and any(map(is_url, inputs)):
        safe = SafeMode()
    files = [item for item in inputs if isinstance(item, (str, PathLike)) and not is_url(item)]
    folders = [Path(item).resolve().parent for item in files if not is_override(str(item))]
    return safe.within(folders) if safe is not None else None


def _with_seed(merged: Node) -> Node:
    merged.value.setdefault("seed", Node(0, Origin(Source("default"))))
    return merged


def _runs(root: Node) -> Path:
    node = root.find("run::dir")
    # A config must not choose where it may write: only the command line names another folder.
    if node is not None and node.origin.source.name == COMMAND_LINE and isinstance(node.value, str):
        return Path(os.path.expanduser(node.value)).resolve()
    # If `outputs` is a link, somebody else may have made it, and so it is not followed: only the folder that it is in
    # is.
    return Path.cwd().resolve() / OUTPUTS
