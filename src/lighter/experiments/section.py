"""Parse the section `experiment`: what is asked for, or all of its mistakes.

experiment:
  objective: min val/loss/epoch            # the default; or a list, for several
  seeds: 5                                 # a number, from the config's own seed on; or a list
  folds: {n: 5, kind: stratified}
  search: {space: {...}, method: tpe, trials: 60, where: ..., zip: ..., schedule: {...}}
  executor: {kind: local, workers: 2}
  retries: 1                               # starts of a member that failed; 0 by default
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lighter.config import Config
from lighter.config.problems import WARNING, Problem, indefinite, nearest
from lighter.config.tree import Node, Origin, Source, join
from lighter.experiments.executors.settings import Settings, parse_executor
from lighter.experiments.facts import parse_objectives, parse_seeds
from lighter.experiments.folds import fold_override, n_folds, parse_folds
from lighter.experiments.overrides import overrides
from lighter.experiments.parameters import Parameter
from lighter.experiments.schedule import Schedule
from lighter.experiments.schedule_section import parse_schedule
from lighter.experiments.search.base import Search
from lighter.experiments.search.make import make_search
from lighter.experiments.space import Space, parse_space
from lighter.experiments.trials import Member, Objective

SECTION = "experiment"
KEYS = ("objective", "seeds", "folds", "search", "executor", "retries")
SEARCH_KEYS = ("space", "method", "trials", "where", "zip", "schedule")
_DEFAULT_TRIALS = 20  # where neither the section nor the size of a grid says how many


@dataclass(frozen=True)
class Asked:
    """A parsed section `experiment`.

    Attributes:
        folds: the numbers of the folds; (None,) without folds.
        trials: how many in all.
        retries: how often a member that failed is started again.
    """

    objectives: tuple[Objective, ...]
    seeds: tuple[int, ...]
    folds: tuple[int | None, ...]
    fold_settings: Mapping[str, Any] | None
    space: Space
    search: Search
    trials: int
    schedule: Schedule
    executor: Settings
    retries: int

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self.space.parameters

    def inputs(self, config: Path, member: Member) -> list[str]:
        """Return the inputs of a member's fit: the experiment's config and the member's overrides."""
        return [str(config), *self.words(member)]

    def words(self, member: Member) -> list[str]:
        """Return the overrides of a member: they say all that makes it another fit than that of the config."""
        words = [f"~{SECTION}", f"seed={member.seed}"]
        if self.fold_settings is not None and member.fold is not None:
            words.append(fold_override(self.fold_settings, member.fold, self.space.config.merged))
        return [*words, *overrides(member.values, self.space.config.merged)]


def parse(config: Config) -> tuple[Asked | None, list[Problem]]:
    """Return what a config asks for, and all mistakes of the section."""
    problems: list[Problem] = []
    section = config.expanded.child(SECTION) or Node({}, config.expanded.origin)
    if not isinstance(section.value, dict):
        message = f"this section is a dict; found {indefinite(section.plain())}"
        return None, [Problem(message, section.origin, SECTION)]
    _check_keys(section, KEYS, SECTION, problems)
    search = _dict(section.child("search"), f"{SECTION}::search", problems)
    _check_keys(search, SEARCH_KEYS, f"{SECTION}::search", problems)
    objectives = parse_objectives(section.child("objective"), problems)
    seeds = parse_seeds(section.child("seeds"), config.seed, problems)
    folds = parse_folds(section.child("folds"), problems)
    trials = _count(search.child("trials"), f"{SECTION}::search::trials", problems)
    schedule = parse_schedule(search.child("schedule"), config.expanded, objectives, problems)
    executor = parse_executor(section.child("executor"), problems)
    retries = _count(section.child("retries"), f"{SECTION}::retries", problems, least=0) or 0
    space = Space(config, ())
    if search.child("space") is not None or search.child("zip") is not None:
        space = parse_space(search, config, problems)
    method = make_search(search.child("method"), space, config.seed, objectives, problems)
    if problems or schedule is None or method is None:
        return None, problems
    asked = search.child("trials")
    if asked is not None and trials is not None and trials > 1 and not space.parameters:
        message = f"there is no search space, so there is one trial and not {trials}"
        hint = "Several fits of one config: `seeds`."
        problems.append(Problem(message, asked.origin, f"{SECTION}::search::trials", hint, WARNING))
    numbers = tuple(range(n_folds(folds))) if folds is not None else (None,)
    total = (trials or method.size() or _DEFAULT_TRIALS) if space.parameters else 1
    return Asked(objectives, seeds, numbers, folds, space, method, total, schedule, executor, retries), problems


def _check_keys(node: Node, known: Sequence[str], path: str, problems: list[Problem]) -> None:
    for key, child in node.value.items():
        if key not in known:
            problems.append(Problem("this setting is unknown", child.place, join(path, key), nearest(str(key), known)))


def _dict(node: Node | None, path: str, problems: list[Problem]) -> Node:
    if node is not None and isinstance(node.value, dict):
        return node
    if node is not None and node.value is not None:
        problems.append(Problem(f"this is a dict; found {indefinite(node.plain())}", node.origin, path))
    return Node({}, node.origin if node is not None else Origin(Source("default")))


def _count(node: Node | None, path: str, problems: list[Problem], least: int = 1) -> int | None:
    if node is None or node.value is None:
        return None
    if type(node.value) is not int or node.value < least:
        message = f"this is an integer from {least} on; found {indefinite(node.plain())}"
        problems.append(Problem(message, node.origin, path))
        return None
    return node.value
